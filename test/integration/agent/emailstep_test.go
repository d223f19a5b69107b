package agent_test

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
)

// The leader gives the plugins that do not use HTTP connections on which they can write.
func TestTheLeaderWritesToAMailServer(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	commands := make(chan string, 100)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(conn, "220 mail.example.com\r\n")
			line, err := bufio.NewReader(conn).ReadString('\n')
			if err == nil {
				commands <- line
				fmt.Fprint(conn, "250 mail.example.com\r\n") // Without STARTTLS, it gets no mail.
			}
			conn.Close()
		}
	}()
	f := setUp(t, fmt.Sprintf(`retry: {maxRetries: 0}
steps:
- name: mail
  plugin: email
  options: {host: 127.0.0.1, port: %d, from: nodes@example.com, to: [ops@example.com]}
`, listener.Addr().(*net.TCPAddr).Port))
	f.start(f.options())
	node := f.protected("worker")
	f.delete(node)
	f.awaitDeleted(node)
	select {
	case command := <-commands:
		if command != "EHLO [127.0.0.1]\r\n" {
			t.Errorf("the agent sent %q", command)
		}
	default:
		t.Error("the agent sent nothing")
	}
	if step := f.record(node).Step("mail"); !strings.Contains(step.LastError, "the server does not offer STARTTLS") {
		t.Errorf("the step says %q", step.LastError)
	}
}
