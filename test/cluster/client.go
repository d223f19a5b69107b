package cluster

import (
	"context"
	"fmt"
	"hash/fnv"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

const (
	adminUser  = "admin"
	adminGroup = "system:masters"
)

// RESTConfig returns the credentials of an administrator, without a limit on requests. The caller may change it.
func (c *Cluster) RESTConfig() *rest.Config { return c.RESTConfigFor(adminUser, adminGroup) }

// RESTConfigFor returns the credentials of any user in any groups, such as "system:node:n1" in
// "system:nodes": a client certificate that the cluster's authority signs. Requests are not
// rate-limited. RBAC determines the user's rights. It panics if the user or a group cannot be part
// of a certificate.
func (c *Cluster) RESTConfigFor(user string, groups ...string) *rest.Config {
	pair, err := c.ca.client(user, groups...)
	if err != nil {
		panic(fmt.Sprintf("signing a certificate for user %q in groups %q: %v", user, groups, err))
	}
	ca, err := c.ca.pair()
	if err != nil {
		panic(fmt.Sprintf("encoding the cluster's own certificate: %v", err))
	}
	return &rest.Config{
		Host:            c.URL(),
		TLSClientConfig: rest.TLSClientConfig{CAData: ca.certificate, CertData: pair.certificate, KeyData: pair.key},
		QPS:             -1,
	}
}

// Kubeconfig is the path of an administrator's kubeconfig.
func (c *Cluster) Kubeconfig() string { return c.layout.kubeconfig() }

// CAFile is the path of the certificate of the authority that signs every user's.
func (c *Cluster) CAFile() string { return c.layout.pki("ca.crt") }

// KubeconfigFor writes a kubeconfig with the credentials that RESTConfigFor gives, and returns its path. The same
// user and groups give the same path.
func (c *Cluster) KubeconfigFor(user string, groups ...string) (string, error) {
	readable := strings.Map(func(r rune) rune {
		if r == ':' || r == '/' || r == filepath.Separator {
			return '-'
		}
		return r
	}, user)
	unique := fnv.New32a()
	fmt.Fprintf(unique, "%q %q", user, groups)
	path := filepath.Join(c.layout.kubeconfigs(), fmt.Sprintf("%s-%08x", readable, unique.Sum32()))
	return path, c.writeKubeconfig(path, user, groups...)
}

// writeKubeconfigs writes the kubeconfigs of the administrator and of the components.
func (c *Cluster) writeKubeconfigs() error {
	for _, file := range []struct {
		path, user string
		groups     []string
	}{
		{c.layout.kubeconfig(), adminUser, []string{adminGroup}},
		{c.layout.kubeconfigOf(ControllerManager), "system:kube-controller-manager", nil},
		{c.layout.kubeconfigOf(Scheduler), "system:kube-scheduler", nil},
		{c.layout.kubeconfigOf(Kwok), "kwok", []string{adminGroup}},
	} {
		if err := c.writeKubeconfig(file.path, file.user, file.groups...); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) writeKubeconfig(path, user string, groups ...string) error {
	credentials := c.RESTConfigFor(user, groups...)
	config := clientcmdapi.NewConfig()
	config.Clusters[c.name] = &clientcmdapi.Cluster{Server: credentials.Host, CertificateAuthorityData: credentials.CAData}
	config.AuthInfos[user] = &clientcmdapi.AuthInfo{ClientCertificateData: credentials.CertData, ClientKeyData: credentials.KeyData}
	config.Contexts[c.name] = &clientcmdapi.Context{Cluster: c.name, AuthInfo: user}
	config.CurrentContext = c.name
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		return fmt.Errorf("writing the kubeconfig of %s: %w", user, err)
	}
	return nil
}

// await waits until there is an object under that path, which something in the cluster makes by itself.
func (c *Cluster) await(ctx context.Context, path string) error {
	client, err := rest.HTTPClientFor(c.RESTConfig())
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, defaultStartTimeout)
	defer cancel()
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		missing := checkURL(ctx, client, c.URL()+path)
		if missing == nil {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w: %w", path, context.Cause(ctx), missing)
		}
	}
}
