package logger

import (
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
)

func TestConformance(t *testing.T) {
	plugintest.RunNotifier(t, plugintest.NotifierSuite{Descriptor: Descriptor(), Options: `{"message":"${notification.text}"}`})
	plugintest.Run(t, plugintest.Suite{Descriptor: Descriptor(), Options: `{"message":"bye ${node.name}"}`})
}
