# docker build -t reincarnate . && docker run --rm -v "$PWD/out:/work/out" reincarnate demo
FROM python:3.12-slim
RUN apt-get update && apt-get install -y --no-install-recommends g++ swig && rm -rf /var/lib/apt/lists/*
COPY . /src
# PyTorch for CPUs first: the default build brings several gigabytes of CUDA. For a GPU leave this line out.
# PyTorch's index of the CPU build, as its own page prints it; without it Linux gets the CUDA build
ARG TORCH_INDEX=""
RUN pip install --no-cache-dir -c /src/constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch
RUN pip install --no-cache-dir -c /src/constraints.txt "/src[hub,onnx,hdf5]"
WORKDIR /work
ENTRYPOINT ["reincarnate"]
