package etcd

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

// The requests are those of etcd's JSON gateway, which kubeadm does not disable: see
// https://etcd.io/docs/v3.6/dev-guide/api_grpc_gateway/ and
// https://github.com/etcd-io/etcd/blob/main/api/etcdserverpb/rpc.proto. It writes a uint64 as a string.
const (
	pathList   = "v3/cluster/member/list"
	pathRemove = "v3/cluster/member/remove"
	pathStatus = "v3/maintenance/status"
	pathMove   = "v3/maintenance/transfer-leadership"
)

const (
	// readTimeout limits a request that reads. A member without a leader never answers a linearizable one.
	readTimeout = 5 * time.Second
	// writeTimeout limits a request that changes the cluster.
	writeTimeout = 30 * time.Second
)

// member of the cluster.
type member struct {
	ID string `json:"ID"`
	// Name and ClientURLs are empty if the member has never been started.
	Name       string   `json:"name"`
	PeerURLs   []string `json:"peerURLs"`
	ClientURLs []string `json:"clientURLs"`
	// IsLearner: the member does not vote.
	IsLearner bool `json:"isLearner"`
}

// String returns "member cp-1", or "member 10276657743932975437" if it was never started.
func (m member) String() string { return "member " + cmp.Or(m.Name, m.ID) }

// status of a member.
type status struct {
	// Leader is the ID of the leader, as this member knows it.
	Leader string `json:"leader"`
	// RaftAppliedIndex is the index of the last applied entry of the log.
	RaftAppliedIndex json.Number `json:"raftAppliedIndex"`
	// Errors are "etcdserver: no leader", and the alarms of all members, such as "memberID:1 alarm:NOSPACE".
	Errors []string `json:"errors"`
}

type members struct {
	Members []member `json:"members"`
}

// call sends a request to one endpoint. Its error names the host.
func (p *plugin) call(ctx context.Context, endpoint, path string, limit time.Duration, document, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := p.api(endpoint).Call(ctx, http.MethodPost, path, document, answer); err != nil {
		return fmt.Errorf("%s: %w", hostOf(endpoint), err)
	}
	return nil
}

// api returns the client of an endpoint. Each keeps its connections.
func (p *plugin) api(endpoint string) *httpclient.API {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.apis[endpoint] == nil {
		p.apis[endpoint] = &httpclient.API{
			System: "etcd", URL: endpoint, Client: p.client, Secrets: p.secrets, Message: message,
			TLS: httpclient.TLS{CABundle: p.CABundle, Certificate: p.Certificate, Key: p.Key},
		}
	}
	return p.apis[endpoint]
}

// message returns the message of an error of the gateway.
func message(answer []byte) string {
	var failed struct {
		Message string `json:"message"`
		Error   string `json:"error"` // of etcd before 3.6
	}
	if json.Unmarshal(answer, &failed) != nil {
		return ""
	}
	return cmp.Or(failed.Message, failed.Error)
}

// retriable returns an error that is not permanent. A client error of etcd can end by itself: it answers 400 while too few
// members are started, for example.
func retriable(err error) error {
	if cleanup.IsPermanent(err) {
		return errors.New(err.Error())
	}
	return err
}

func hostOf(endpoint string) string {
	if parsed, err := url.Parse(endpoint); err == nil {
		return parsed.Host
	}
	return "an endpoint"
}
