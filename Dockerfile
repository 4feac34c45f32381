# docker build -t reincarnate . && docker run --rm -v "$PWD/out:/work/out" reincarnate demo
FROM python:3.12-slim
RUN apt-get update && apt-get install -y --no-install-recommends g++ swig && rm -rf /var/lib/apt/lists/*
COPY . /src
# PyTorch for CPUs first: the default build brings several gigabytes of CUDA. For a GPU leave this line out.
RUN pip install --no-cache-dir -c /src/constraints.txt torch --index-url https://download.pytorch.org/whl/cpu
RUN pip install --no-cache-dir -c /src/constraints.txt "/src[hub,onnx,hdf5]"
WORKDIR /work
ENTRYPOINT ["reincarnate"]
