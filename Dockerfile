# lmgen without a compiler in the image that runs: the kernels are built in the first stage.
#
#     docker build -t lmgen .
#     docker run --rm -v "$PWD:/data" lmgen train names.txt
#
# The folder that is mounted must be writable for user 1000, or give --user "$(id -u)".

FROM python:3.13-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN python -m venv /opt/lmgen && /opt/lmgen/bin/pip install --no-cache-dir '.[compress,novelty,plot,serve,subword,translate]'

FROM python:3.13-slim
COPY --from=build /opt/lmgen /opt/lmgen
RUN useradd --create-home --uid 1000 lmgen
ENV PATH=/opt/lmgen/bin:$PATH PYTHONUNBUFFERED=1
USER lmgen
WORKDIR /data
EXPOSE 8000
ENTRYPOINT ["lmgen"]
CMD ["--help"]
