# syntax=docker/dockerfile:1
# Mindwire without torch: ONNX Runtime serves the bundles. How to run it, and what LSL needs of the
# network, is in docs/docker.md.
ARG PYTHON=3.11-slim-bookworm

FROM python:${PYTHON} AS build
# cpu or gpu. The GPU image brings CUDA and cuDNN as Python packages; the host needs only NVIDIA's driver
# and container toolkit.
ARG DEVICE=cpu
# Extras of the package: EXTRAS=ray for the nodes of a Ray cluster (docs/deployment.md).
ARG EXTRAS=
WORKDIR /src
RUN python -m venv /opt/mindwire
ENV PATH=/opt/mindwire/bin:$PATH
COPY pyproject.toml README.md LICENSE ./
COPY models models
COPY service service
# hadolint ignore=DL3013
RUN pip install --no-cache-dir ".${EXTRAS:+[${EXTRAS}]}"
RUN case "${DEVICE}" in \
      cpu) ;; \
      gpu) pip uninstall --yes onnxruntime \
        && pip install --no-cache-dir "onnxruntime-gpu[cuda,cudnn]>=1.31" ;; \
      *) echo "DEVICE must be cpu or gpu, found ${DEVICE}" >&2; exit 1 ;; \
    esac

FROM python:${PYTHON}
RUN useradd --system --uid 10001 --create-home mindwire
COPY --from=build /opt/mindwire /opt/mindwire
ENV PATH=/opt/mindwire/bin:$PATH \
    PYTHONUNBUFFERED=1
USER 10001
WORKDIR /home/mindwire
EXPOSE 8000
# Whether the process answers, not whether EEG arrives: a cap taken off is no reason to restart. Readiness
# is at /health/ready.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-P", "-m", "mindwire.health_check"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["mindwire"]
CMD ["demo"]
