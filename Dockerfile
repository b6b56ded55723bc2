# speechft on a CPU. For a GPU take a base image with CUDA, and torch's build for it.
FROM python:3.11-slim
WORKDIR /opt/speechft
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY src src
RUN pip install --no-cache-dir torch --index-url https://download.pytorch.org/whl/cpu \
    && pip install --no-cache-dir . 'espeakng-loader>=0.2.4'
WORKDIR /data
ENTRYPOINT ["speechft"]
CMD ["--help"]
