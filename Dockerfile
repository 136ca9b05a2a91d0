# One image for api, worker, beat and the one-shot migration; the command decides. Non-root, read-only root, no compiler.
FROM python:3.11-slim-bookworm AS build
# PyTorch for processors only: the build that PyPI gives brings gigabytes of CUDA. Empty for a mirror that has just one.
ARG PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
WORKDIR /src
RUN python -m venv /opt/memos
# Dependencies change less often than code, so they get a layer of their own.
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN mkdir memos api workers migrations benchmarks \
    && touch memos/__init__.py api/__init__.py workers/__init__.py migrations/__init__.py benchmarks/__init__.py \
    && /opt/memos/bin/pip install --no-cache-dir -c constraints.txt '.[otel]'
COPY memos memos
COPY api api
COPY workers workers
COPY migrations migrations
COPY benchmarks benchmarks
RUN /opt/memos/bin/pip install --no-cache-dir --no-deps --force-reinstall .
# Export the embedder now, so that containers start without writing a model.
RUN /opt/memos/bin/python -c "from pathlib import Path; from memos.encoders.embedder import DEFAULT_EMBEDDER, build_embedder; \
    build_embedder(DEFAULT_EMBEDDER, cache_dir=Path('/opt/memos/models')).embed(['ready'])"

FROM python:3.11-slim-bookworm
RUN groupadd --system --gid 10001 memos && useradd --system --uid 10001 --gid 10001 --create-home memos
COPY --from=build /opt/memos /opt/memos
ENV PATH=/opt/memos/bin:$PATH MEMOS_DATA_DIR=/var/lib/memos MEMOS_MODEL_DIR=/opt/memos/models PYTHONUNBUFFERED=1
RUN mkdir /var/lib/memos && chown memos /var/lib/memos
USER memos
VOLUME /var/lib/memos
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
CMD ["memos", "api", "--host", "0.0.0.0", "--port", "8000"]
