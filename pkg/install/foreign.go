package install

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// foreignKinds are the kinds whose deletion loses data or stops workloads.
var foreignKinds = []struct {
	group, version, kind, resource string
}{
	{"", "v1", "ConfigMap", "configmaps"}, {"", "v1", "Secret", "secrets"}, {"", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"},
	{"", "v1", "Service", "services"}, {"apps", "v1", "Deployment", "deployments"}, {"apps", "v1", "StatefulSet", "statefulsets"},
	{"apps", "v1", "DaemonSet", "daemonsets"}, {"batch", "v1", "CronJob", "cronjobs"}, {"batch", "v1", "Job", "jobs"}, {"", "v1", "Pod", "pods"},
}

// surveyForeign adds the objects of other users in our namespace. An object with an owner, such as
// a Pod of a Deployment, is not listed in addition to its owner.
func (r *Remover) surveyForeign(ctx context.Context, survey *Survey) error {
	mine := map[string]bool{"configmap/kube-root-ca.crt": true}
	for _, object := range survey.Objects {
		mine[object.String()] = true
	}
	for _, one := range foreignKinds {
		resource := schema.GroupVersionResource{Group: one.group, Version: one.version, Resource: one.resource}
		list, err := r.Objects.Resource(resource).Namespace(survey.Namespace).List(ctx, metav1.ListOptions{})
		switch {
		case apierrors.IsForbidden(err):
			survey.Unseen = append(survey.Unseen, one.resource)
			continue
		case err != nil:
			return fmt.Errorf("listing %s in namespace %s: %w", one.resource, survey.Namespace, err)
		}
		for _, item := range list.Items {
			name := objectName(schema.GroupVersionKind{Group: one.group, Version: one.version, Kind: one.kind}, item.GetName())
			if !mine[name] && metav1.GetControllerOf(&item) == nil {
				survey.Foreign = append(survey.Foreign, name)
			}
		}
	}
	return nil
}
