# The worker of a Dataflow job (docs/dataflow.md): Winnow at its pinned versions, and Beam's own entry point.
# Python must have the minor version of the Python that submits the job, Beam the version in constraints.txt.
#
#   docker build --build-arg PYTHON=3.12 --tag IMAGE .
ARG PYTHON=3.11
ARG BEAM=2.77.0

FROM apache/beam_python${PYTHON}_sdk:${BEAM} AS beam

FROM python:${PYTHON}-slim-bookworm
WORKDIR /opt/winnow
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY manifests manifests
COPY model model
COPY pipelines pipelines
COPY stages stages
COPY synth synth
COPY training training
COPY winnow winnow
RUN pip install --no-cache-dir --constraint constraints.txt '.[beam,gcp]' \
    && rm -rf /opt/winnow \
    && python -c 'import apache_beam, pipelines.engines.beam, winnow.beam'
WORKDIR /

COPY --from=beam /opt/apache/beam /opt/apache/beam
ENTRYPOINT ["/opt/apache/beam/boot"]
