# The agent's image: one static binary, no shell, not root.
ARG GO_IMAGE=golang:1.26
ARG BASE_IMAGE=gcr.io/distroless/static-debian12:nonroot

FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY cmd cmd
COPY pkg pkg
COPY agent agent
ARG TARGETOS TARGETARCH VERSION=v0.0.0-dev
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath \
    -ldflags "-s -w -X github.com/nodecleanup/kubectl-nodecleanup/pkg/version.Version=$VERSION" \
    -o /nodecleanup-agent ./cmd/nodecleanup-agent

FROM ${BASE_IMAGE}
COPY --from=build /nodecleanup-agent /nodecleanup-agent
USER 65532:65532
ENTRYPOINT ["/nodecleanup-agent"]
