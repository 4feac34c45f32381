# docker build -t reincarnate . && docker run --rm -v "$PWD/out:/runs/out" reincarnate demo
FROM python:3.11-slim
RUN apt-get update && apt-get install -y --no-install-recommends g++ swig && rm -rf /var/lib/apt/lists/*
COPY . /src
# TORCH_INDEX: PyTorch's index of the CPU build, as its own page prints it; without it Linux gets gigabytes of CUDA
ARG TORCH_INDEX=""
RUN pip install --no-cache-dir -c /src/constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch
RUN pip install --no-cache-dir -c /src/constraints.txt "/src[hub,onnx,hdf5]"
WORKDIR /runs
ENTRYPOINT ["reincarnate"]
