package check

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/preview"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/repair"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/rights"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

func serverVersion(ctx context.Context, s *subject) result {
	version, err := rights.ServerVersion(ctx, s.client)
	if err != nil {
		return failed(err.Error(), "upgrade the control plane, or check it: kubectl cluster-info")
	}
	return pass(version)
}

// shadowed warns about several programs of the name: kubectl runs the first, which may be an old
// version.
func shadowed(context.Context, *subject) result {
	name := "kubectl-nodecleanup"
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	var found []string
	var files []os.FileInfo
	for _, folder := range filepath.SplitList(os.Getenv("PATH")) {
		path := filepath.Join(folder, name)
		info, err := os.Stat(path)
		// A link to one that comes before is the same program.
		if err != nil || info.IsDir() || slices.ContainsFunc(files, func(other os.FileInfo) bool { return os.SameFile(info, other) }) {
			continue
		}
		files = append(files, info)
		found = append(found, path)
	}
	switch len(found) {
	case 0:
		return warn("it is not on the PATH, so `kubectl nodecleanup` does not work", "move this program into a folder that is on the PATH")
	case 1:
		return pass(found[0])
	}
	return warn(fmt.Sprintf("kubectl runs %s; the PATH also has %s", found[0], strings.Join(found[1:], ", ")), "remove the other copies: kubectl plugin list shows them")
}

func (s *subject) settings(ctx context.Context) (*config.Config, error) {
	if !s.configRead {
		s.config, s.configErr = preview.ReadCatalog(ctx, s.client, s.namespace, s.catalog).Config(ctx, s.client, s.namespace)
		s.configRead = true
	}
	return s.config, s.configErr
}

func configValid(ctx context.Context, s *subject) result {
	settings, err := s.settings(ctx)
	if apierrors.IsForbidden(err) {
		return skip(err)
	}
	hint := repair.EditConfig
	if errors.Is(err, preview.ErrNoConfig) {
		hint = preview.RestoreConfig(nil)
		if _, unread := s.readStatus(ctx); unread == nil {
			hint = preview.RestoreConfig(s.snapshot.Status)
		}
	}
	if err != nil {
		return failed(err.Error(), hint)
	}
	status, err := s.readStatus(ctx)
	switch {
	case err != nil:
		return skip(fmt.Errorf("valid, but cannot read which config the agent uses: %w", err))
	case !status.Agent.HasLeader:
		return skip(errors.New("valid, but no agent is the leader; " + s.followed(status)))
	case status.Config.Problem != "":
		return failed("the agent refuses it: "+status.Config.Problem, status.Config.Remedy)
	case status.Config.Hash != "" && status.Config.Hash != settings.Hash:
		return warn(fmt.Sprintf("the agent uses config %s, and the ConfigMap contains config %s", status.Config.Hash, settings.Hash),
			"wait a few seconds; an agent that was started with --config uses its file, not the ConfigMap")
	}
	if len(settings.Warnings) > 0 {
		return warn(settings.Warnings.Error(), hint)
	}
	return pass(fmt.Sprintf("%s, config %s", api.Count(len(settings.Steps), "step"), settings.Hash))
}

// followed is which config the last leader used.
func (s *subject) followed(status *printer.Status) string {
	config := status.Config
	switch {
	case config.Problem != "":
		return s.stale(status) + ": a config was refused: " + config.Problem
	case config.Hash != "":
		return s.stale(status) + ": config " + config.Hash
	}
	return "no agent has reported its config"
}

func secretsThere(ctx context.Context, s *subject) result {
	settings, err := s.settings(ctx)
	if err != nil {
		return skip(errors.New("the config cannot be read or is not valid"))
	}
	number := 0
	for _, secret := range preview.UsedSecrets(settings) {
		number += secret.Keys()
	}
	missing, err := preview.MissingSecrets(ctx, s.client, s.namespace, settings)
	switch {
	case err != nil:
		return skip(err)
	case len(missing) > 0:
		var texts []string
		for _, one := range missing {
			texts = append(texts, one.Text())
		}
		return failed(strings.Join(texts, "; "), preview.CommandsOf(missing))
	case number == 0:
		return pass("none")
	}
	return pass(api.Count(number, "key"))
}

// missingSecrets returns the Secrets that a place of the config lacks.
func (s *subject) missingSecrets(ctx context.Context, place string) ([]*preview.MissingSecret, error) {
	settings, err := s.settings(ctx)
	if err != nil {
		return nil, err
	}
	return preview.MissingSecrets(ctx, s.client, s.namespace, settings, place)
}

// metrics reads them by way of the API server, which needs no port of this machine.
func metrics(ctx context.Context, s *subject) result {
	status, err := s.readStatus(ctx)
	if err != nil {
		return skip(err)
	}
	switch agent := status.Agent; {
	case agent.Outside || agent.Health == printer.Missing:
		return skip(errors.New("no agent runs in the cluster"))
	case agent.Ready == 0:
		return skip(errors.New("no pod of the agent is ready"))
	}
	pods, err := s.client.CoreV1().Pods(s.namespace).List(ctx, metav1.ListOptions{
		LabelSelector: labels.Set{api.LabelName: api.LabelNameValue}.String(), FieldSelector: "status.phase=Running",
	})
	if err != nil {
		return skip(err)
	}
	if len(pods.Items) == 0 {
		return skip(errors.New("there is no running pod of the agent"))
	}
	name := pods.Items[0].Name
	answer, err := s.client.CoreV1().Pods(s.namespace).ProxyGet("http", name, metricsPort(&pods.Items[0]), api.MetricsPath, nil).DoRaw(ctx)
	switch {
	case apierrors.IsForbidden(err):
		return skip(err)
	case err != nil:
		return warn(fmt.Sprintf("reading the metrics of pod %s: %v", name, err), fmt.Sprintf("kubectl -n %s logs %s --tail=20", s.namespace, name))
	case !strings.Contains(string(answer), "node_cleanup_"):
		return warn(fmt.Sprintf("pod %s serves no metrics of nodecleanup", name), "check which program listens on the port: kubectl -n "+s.namespace+" describe pod "+name)
	}
	return pass("pod " + name + " serves them")
}

// metricsPort is the number of the port "metrics", which an install can change.
func metricsPort(pod *corev1.Pod) string {
	for _, container := range pod.Spec.Containers {
		for _, port := range container.Ports {
			if port.Name == "metrics" {
				return strconv.Itoa(int(port.ContainerPort))
			}
		}
	}
	return strconv.Itoa(api.MetricsPort)
}
