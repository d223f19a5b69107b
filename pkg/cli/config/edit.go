package config

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/preview"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
)

func newEdit(o *Options) *cobra.Command {
	return &cobra.Command{
		Use:   "edit",
		Short: "Edit the config on the cluster in your editor",
		Long: `Edit the config on the cluster in the editor that $KUBE_EDITOR or $EDITOR names (default: vi).

The command validates the config against the plugins of the agent before it stores it. If it
has faults, the editor opens again and shows them. The command stores nothing if another
user has changed the config in the meantime; your changes then remain in a file.`,
		Example: `  kubectl nodecleanup config edit

  KUBE_EDITOR="code --wait" kubectl nodecleanup config edit`,
		Args: command.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.edit(cmd.Context()) },
	}
}

func (o *Options) edit(ctx context.Context) error {
	clients, namespace, err := o.Cluster.Connect(ctx)
	if err != nil {
		return err
	}
	stored, err := preview.ReadConfig(ctx, clients.Typed, namespace)
	if err != nil {
		return err
	}
	if install.ByHelm(stored) {
		o.Say("WARNING: the config belongs to the Helm release %s. The next helm upgrade replaces your changes, unless you also make them in its value config.",
			stored.Annotations[install.AnnotationHelmRelease])
	}
	catalog := preview.ReadCatalog(ctx, clients.Typed, namespace, o.Catalog())
	file, text, err := o.edited(ctx, stored.Data[api.ConfigKey], catalog)
	if err != nil || file == "" {
		return err
	}
	if err := store(ctx, clients.Typed, stored, text); err != nil {
		return unstored(err, file)
	}
	if err := os.Remove(file); err != nil {
		o.Say("WARNING: your changes are stored, and also remain in a file: %v", err)
	}
	fmt.Fprintln(o.Out, "config edited")
	o.Say("See whether the agent accepts it: kubectl nodecleanup status")
	o.WarnWithoutLeader(ctx, clients.Typed, namespace)
	return nil
}

// edited returns a valid config and the file that has it. The file is "" if the user has changed nothing.
func (o *Options) edited(ctx context.Context, original string, catalog preview.Catalog) (file, text string, err error) {
	text = original
	var faults config.Errors
	for {
		var written string
		file, written, err = o.inEditor(withHead(text, faults, catalog.Note))
		if err != nil {
			return "", "", unstored(err, file)
		}
		if err := ctx.Err(); err != nil {
			return "", "", unstored(context.Cause(ctx), file)
		}
		previous := text
		text = withoutHead(written)
		if text == original || strings.TrimSpace(text) == "" {
			o.Say("Edit canceled: no changes were made.")
			return "", "", os.Remove(file)
		}
		if len(faults) > 0 && text == previous {
			return "", "", unstored(fmt.Errorf("the config has faults:%w", preview.Indented{Err: faults}), file)
		}
		if settings, err := config.Parse([]byte(text), catalog.Plugins); err == nil {
			o.SayWarnings(settings)
			return file, text, nil
		} else if !errors.As(err, &faults) {
			return "", "", unstored(err, file)
		}
		if err := os.Remove(file); err != nil {
			return "", "", err
		}
	}
}

// mark begins the lines that the command adds to the file, and removes afterwards.
const mark = "#~ "

// withHead returns a config below lines that explain what to do. The lines of the faults are those
// in the editor.
func withHead(text string, faults config.Errors, note string) string {
	head := []string{`Lines that begin with "#~" are removed. An empty file cancels the edit.`}
	if len(faults) > 0 {
		head = append(head, "", "The config was not stored, because it has faults. To cancel, save it without a change.")
		if note != "" {
			head = append(head, note)
		}
		below := len(head) + len(faults)
		for _, fault := range faults {
			if fault.Line > 0 {
				fault.Line += below
			}
			head = append(head, strings.ReplaceAll(fault.Error(), "\n", " "))
		}
	}
	return mark + strings.Join(head, "\n"+mark) + "\n" + text
}

func withoutHead(text string) string {
	var kept strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, strings.TrimSpace(mark)) {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// store replaces the config, unless the ConfigMap has changed.
func store(ctx context.Context, client kubernetes.Interface, read *corev1.ConfigMap, text string) error {
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": read.ResourceVersion, "uid": read.UID},
		"data":     map[string]any{api.ConfigKey: text},
	})
	if err != nil {
		return err
	}
	_, err = client.CoreV1().ConfigMaps(read.Namespace).Patch(ctx, read.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: api.FieldManager})
	return err
}

// unstored returns an error that says where the changes of the user are.
func unstored(err error, file string) error {
	failed := &exit.Error{Code: exit.Code(context.Background(), err), Err: fmt.Errorf("editing the config: %w", err)}
	if file == "" {
		return failed
	}
	failed.Next = fmt.Sprintf("Your changes are in %s. Compare it with the config on the cluster: kubectl nodecleanup config diff %s", file, file)
	if apierrors.IsConflict(err) {
		failed.Err = errors.New("editing the config: another user has changed it in the meantime; nothing was stored")
	}
	return failed
}
