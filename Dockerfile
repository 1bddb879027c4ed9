# syntax=docker/dockerfile:1
FROM rust:1.95-bookworm AS build
WORKDIR /src
# All that .dockerignore lets through: the operator's sources, and the other members of the workspace, whose manifests
# Cargo reads. `make image-check` runs these steps without a container engine.
COPY . .
# The binary is copied out because the cache mounts are not part of the layer.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,id=dbbalance-target \
    cargo build --release --locked --package dbbalance --bin dbbalance \
    && cp target/release/dbbalance /dbbalance

# glibc, libgcc, CA certificates, and nothing to run but the operator. It writes no files. The kubectl plugin runs on
# the user's machine and is built there (docs/plugin.md).
FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="dbbalance" \
      org.opencontainers.image.description="Recycles connection pools when an Aurora cluster's topology changes" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build --chown=0:0 --chmod=0555 /dbbalance /usr/local/bin/dbbalance
# By number, so that the kubelet can check runAsNonRoot without reading /etc/passwd.
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/dbbalance"]
CMD ["run"]
