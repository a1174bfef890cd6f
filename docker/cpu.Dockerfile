# docker build -f docker/cpu.Dockerfile -t padre3d:cpu .
# docker run --rm -v "$PWD/work_dirs:/padre3d/work_dirs" padre3d:cpu
FROM debian:bookworm-slim
WORKDIR /padre3d
COPY . .
RUN docker/cpu_steps.sh
CMD ["make", "demo"]
