"""The command ``padre3d``: detection and what belongs to it, with numpy alone beside a backend."""
