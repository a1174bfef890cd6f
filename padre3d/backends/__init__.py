"""What runs an exported graph: one module a backend."""
