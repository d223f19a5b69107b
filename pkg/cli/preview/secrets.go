package preview

import (
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// secrets reads with the operator's rights.
type secrets struct {
	client    kubernetes.Interface
	namespace string
}

// UsedSecret is a Secret with its uses in a config.
type UsedSecret struct {
	Name string
	// Places use it, such as "step tell". Other places of the config are left out.
	Places []string
	uses   []secretUse
}

type secretUse struct{ place, key string }

// UsedSecrets returns the Secrets that the places of a config use, in order. Without places, it returns those of
// all steps and notifications.
func UsedSecrets(settings *config.Config, places ...string) []UsedSecret {
	var all []UsedSecret
	add := func(place string, keys []cleanup.SecretKey) {
		for _, key := range keys {
			at := slices.IndexFunc(all, func(one UsedSecret) bool { return one.Name == key.Name })
			if at < 0 {
				at, all = len(all), append(all, UsedSecret{Name: key.Name})
			}
			one := &all[at]
			one.uses = append(one.uses, secretUse{place, key.Key})
			if (len(places) == 0 || slices.Contains(places, place)) && !slices.Contains(one.Places, place) {
				one.Places = append(one.Places, place)
			}
		}
	}
	for _, step := range settings.Steps {
		add("step "+step.Name, step.Secrets)
	}
	for _, notification := range settings.Notifications {
		add("notification "+notification.Name, notification.Secrets)
	}
	return slices.DeleteFunc(all, func(one UsedSecret) bool { return len(one.Places) == 0 })
}

// Keys returns how many keys the config uses.
func (u UsedSecret) Keys() int { return len(u.uses) }

// Missing returns what of the Secret is missing, nil if its places have all their keys. It discards the values.
func (u UsedSecret) Missing(ctx context.Context, client kubernetes.Interface, namespace string) (*MissingSecret, error) {
	secret, err := client.CoreV1().Secrets(namespace).Get(ctx, u.Name, metav1.GetOptions{})
	exists := !apierrors.IsNotFound(err)
	if err != nil && exists {
		return nil, fmt.Errorf("reading secret %s/%s: %w", namespace, u.Name, err)
	}
	missing := &MissingSecret{namespace: namespace, name: u.Name, exists: exists}
	for _, use := range u.uses {
		if exists && len(secret.Data[use.key]) > 0 {
			continue
		}
		if !slices.Contains(missing.keys, use.key) {
			missing.keys = append(missing.keys, use.key)
		}
		if slices.Contains(u.Places, use.place) && !slices.Contains(missing.Places, use.place) {
			missing.Places = append(missing.Places, use.place)
		}
	}
	if len(missing.Places) == 0 {
		return nil, nil
	}
	return missing, nil
}

// MissingSecrets returns those of UsedSecrets that do not exist or lack keys.
func MissingSecrets(ctx context.Context, client kubernetes.Interface, namespace string, settings *config.Config, places ...string) ([]*MissingSecret, error) {
	var all []*MissingSecret
	for _, secret := range UsedSecrets(settings, places...) {
		missing, err := secret.Missing(ctx, client, namespace)
		if err != nil {
			return nil, err
		}
		if missing != nil {
			all = append(all, missing)
		}
	}
	return all, nil
}

// MissingSecret is a Secret that does not exist or lacks keys.
type MissingSecret struct {
	// Places use the missing keys.
	Places          []string
	namespace, name string
	// keys are the missing keys, also those of other places.
	keys []string
	// exists: only keys or their values are missing.
	exists bool
}

// Error implements error. It names no place.
func (m *MissingSecret) Error() string { return m.text("") }

// Text names what is missing and the places that use it.
func (m *MissingSecret) Text() string { return m.text(" of " + strings.Join(m.Places, ", ")) }

func (m *MissingSecret) text(place string) string {
	switch {
	case !m.exists:
		return fmt.Sprintf("secret %s/%s%s is missing", m.namespace, m.name, place)
	case len(m.keys) > 1:
		return fmt.Sprintf("secret %s/%s%s has no values for keys %s", m.namespace, m.name, place, strings.Join(m.keys, ", "))
	}
	return fmt.Sprintf("secret %s/%s%s has no value for key %s", m.namespace, m.name, place, m.keys[0])
}

// Command creates what is missing: every key at once, because a second create would fail.
func (m *MissingSecret) Command() string {
	if !m.exists {
		return fmt.Sprintf("kubectl -n %s create secret generic %s --from-literal=%s=VALUE", m.namespace, m.name, strings.Join(m.keys, "=VALUE --from-literal="))
	}
	return fmt.Sprintf("kubectl -n %s patch secret %s --type=merge -p '{\"stringData\":{\"%s\":\"VALUE\"}}'", m.namespace, m.name, strings.Join(m.keys, `":"VALUE","`))
}

// CommandsOf joins the commands of several Secrets, all of which are needed.
func CommandsOf(all []*MissingSecret) string {
	var commands []string
	for _, missing := range all {
		commands = append(commands, missing.Command())
	}
	return strings.Join(commands, " && ")
}

// Secret implements cleanup.Secrets.
func (s secrets) Secret(ctx context.Context, key cleanup.SecretKey) (string, error) {
	secret, err := s.client.CoreV1().Secrets(s.namespace).Get(ctx, key.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return "", &MissingSecret{namespace: s.namespace, name: key.Name, keys: []string{key.Key}}
	case err != nil:
		return "", fmt.Errorf("reading secret %s/%s: %w", s.namespace, key.Name, err)
	case len(secret.Data[key.Key]) == 0:
		return "", &MissingSecret{namespace: s.namespace, name: key.Name, keys: []string{key.Key}, exists: true}
	}
	return string(secret.Data[key.Key]), nil
}
