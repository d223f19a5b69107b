package completion

import "testing"

func TestTheFolderOnThePath(t *testing.T) {
	for called, test := range map[string]struct{ stored, want string }{
		"/home/jo/.krew/bin/kubectl-nodecleanup": {"/home/jo/.krew/store/nodecleanup/v1.2.3/kubectl-nodecleanup", "/home/jo/.krew/bin"},
		"/opt/krew/bin/kubectl-nodecleanup":      {"/opt/krew/store/nodecleanup/v0.1.0/kubectl-nodecleanup", "/opt/krew/bin"},
		"/usr/local/bin/kubectl-nodecleanup":     {"/usr/local/bin/kubectl-nodecleanup", "/usr/local/bin"},
		"/home/store/kubectl-nodecleanup":        {"/home/store/kubectl-nodecleanup", "/home/store"},
	} {
		if got := FolderFor(called, test.stored); got != test.want {
			t.Errorf("%s goes to %s, want %s", called, got, test.want)
		}
	}
}
