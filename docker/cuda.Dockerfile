# docker build -f docker/cuda.Dockerfile -t padre3d:cuda .
# docker run --rm --gpus all -it -v /data/nuscenes:/padre3d/data/nuscenes padre3d:cuda
# Written to the documented steps; not built by us. The image's CUDA must be that of the torch wheel.
FROM nvidia/cuda:12.6.3-devel-ubuntu22.04
ENV DEBIAN_FRONTEND=noninteractive
RUN apt-get update --quiet && apt-get install --yes --quiet --no-install-recommends \
    build-essential git make python3-dev python3-venv libgl1 libglib2.0-0
WORKDIR /padre3d
COPY . .
# mmcv compiles its CUDA operators for these architectures; no GPU is needed to build.
ENV FORCE_CUDA=1 TORCH_CUDA_ARCH_LIST="8.0;8.6;8.7;8.9;9.0"
ENV PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cu126 TORCH=torch==2.8.0+cu126
RUN make install
CMD ["bash"]
