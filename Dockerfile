# The image of the agent: one static binary, no shell, not root. With --target agent-cloud, it has the plugins of
# clouds; with --target cli, it is that of the command line, which test and uninstall of the Helm chart run.
ARG GO_IMAGE=golang:1.26
ARG BASE_IMAGE=gcr.io/distroless/static-debian12:nonroot

FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS source
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY manifests/embed.go manifests/embed.go
COPY manifests/base manifests/base
COPY cmd cmd
COPY pkg pkg
COPY agent agent
ARG TARGETOS TARGETARCH VERSION=v0.0.0-dev
ENV CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    LDFLAGS="-s -w -X github.com/nodecleanup/kubectl-nodecleanup/pkg/version.Version=$VERSION"

FROM source AS build-cli
RUN go build -trimpath -ldflags "$LDFLAGS" -o /kubectl-nodecleanup ./cmd/kubectl-nodecleanup

FROM source AS build-agent
RUN go build -trimpath -ldflags "$LDFLAGS" -o /nodecleanup-agent ./cmd/nodecleanup-agent

FROM source AS build-agent-cloud
RUN cd cmd/nodecleanup-agent-cloud && go build -trimpath -ldflags "$LDFLAGS" -o /nodecleanup-agent-cloud .

FROM ${BASE_IMAGE} AS cli
COPY --from=build-cli /kubectl-nodecleanup /kubectl-nodecleanup
USER 65532:65532
ENTRYPOINT ["/kubectl-nodecleanup"]

FROM ${BASE_IMAGE} AS agent-cloud
COPY --from=build-agent-cloud /nodecleanup-agent-cloud /nodecleanup-agent-cloud
USER 65532:65532
ENTRYPOINT ["/nodecleanup-agent-cloud"]

FROM ${BASE_IMAGE} AS agent
COPY --from=build-agent /nodecleanup-agent /nodecleanup-agent
USER 65532:65532
ENTRYPOINT ["/nodecleanup-agent"]
