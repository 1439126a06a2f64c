# Build: docker build -t larder .
# Run:   docker run --rm -p 8080:8080 -v ./larder.yaml:/etc/larder.yaml:ro larder

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked && cp target/release/larder /larder

# Has CA certificates, a libc and a user without rights; no shell.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /larder /usr/local/bin/larder
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/larder"]
CMD ["serve", "--config", "/etc/larder.yaml"]
