// Package dashboard serves the web page that shows every cleanup. It listens on the loopback interface of the
// operator's machine, reads with the operator's own rights, and changes nothing.
package dashboard

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"time"
)

// assets is the built page. Its source is ui/src; hack/ui builds it.
//
//go:embed ui/dist
var assets embed.FS

const pageFolder = "ui/dist"

const (
	// maxHeaderBytes and headerTimeout limit what an unknown sender can make the server hold.
	maxHeaderBytes = 16 << 10
	headerTimeout  = 5 * time.Second
	idleTimeout    = time.Minute
	// shutdownTimeout is how long the end waits for answers that are being written.
	shutdownTimeout = 2 * time.Second
)

// securityPolicy permits what the page needs and nothing else.
const securityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; " +
	"frame-ancestors 'none'; require-trusted-types-for 'script'"

// Server serves the page of one cluster.
type Server struct {
	cluster  *Cluster
	sessions *sessions
	listener net.Listener
	// host is the only value of the header Host that is served: the address of the listener.
	host   string
	cookie string
	routes http.Handler
}

// Listen listens on 127.0.0.1. Port 0 means a free port. The server answers once Serve is called.
func Listen(ctx context.Context, port int, cluster *Cluster, now func() time.Time) (*Server, error) {
	// Only the loopback interface: the page shows what the operator may read.
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	s := &Server{cluster: cluster, sessions: &sessions{now: now}, listener: listener, host: listener.Addr().String()}
	_, number, err := net.SplitHostPort(s.host)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	// Cookies ignore the port, so two dashboards need two names.
	s.cookie = "nodecleanup-" + number
	if s.routes, err = s.handler(); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return s, nil
}

// Address returns host and port.
func (s *Server) Address() string { return s.host }

// Link returns a new login link. It works once, for 5 minutes.
func (s *Server) Link() string {
	return "http://" + s.host + "/login?" + url.Values{"token": {s.sessions.newLink()}}.Encode()
}

// Serve follows the cluster and answers requests until ctx ends.
func (s *Server) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	server := &http.Server{
		Handler: s.routes, MaxHeaderBytes: maxHeaderBytes, ReadHeaderTimeout: headerTimeout, ReadTimeout: headerTimeout, IdleTimeout: idleTimeout,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		s.cluster.follow(ctx)
	}()
	stopped := make(chan error, 1)
	context.AfterFunc(ctx, func() { stopped <- stop(context.WithoutCancel(ctx), server) })
	err := server.Serve(s.listener)
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	cancel() // If the server has failed.
	<-followed
	return errors.Join(err, <-stopped)
}

// stop lets answers end that are being written. The context of the requests has ended, which ends the streams.
func stop(ctx context.Context, server *http.Server) error {
	ctx, cancel := context.WithTimeout(ctx, shutdownTimeout)
	defer cancel()
	err := server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return server.Close()
	}
	return err
}

// handler returns the routes behind what every request must pass.
func (s *Server) handler() (http.Handler, error) {
	routes := http.NewServeMux()
	if err := addPage(routes); err != nil {
		return nil, err
	}
	routes.HandleFunc("GET /login", s.login)
	s.addAPI(routes)
	return s.guarded(http.NewCrossOriginProtection().Handler(routes)), nil
}

// contentTypes are those of the page's files. The tables of the operating system can be wrong.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml",
}

// addPage adds a route for each file of the page. http.FileServer would remove headers of its errors.
func addPage(routes *http.ServeMux) error {
	files, err := assets.ReadDir(pageFolder)
	if err != nil {
		return err
	}
	for _, file := range files {
		content, err := assets.ReadFile(path.Join(pageFolder, file.Name()))
		if err != nil {
			return err
		}
		route := "GET /" + file.Name()
		if file.Name() == "index.html" {
			route = "GET /{$}"
		}
		routes.HandleFunc(route, func(response http.ResponseWriter, _ *http.Request) {
			response.Header().Set("Content-Type", contentTypes[path.Ext(file.Name())])
			write(response, string(content))
		})
	}
	routes.HandleFunc("GET /", func(response http.ResponseWriter, _ *http.Request) {
		refuse(response, http.StatusNotFound, "there is no such page")
	})
	return nil
}

// guarded refuses requests to another host name, and sets the headers of every answer. A page of another site
// whose name was made to resolve to 127.0.0.1 (DNS rebinding) sends its own name.
func (s *Server) guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		header := response.Header()
		header.Set("Content-Security-Policy", securityPolicy)
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Cache-Control", "no-store")
		if request.Host != s.host {
			refuse(response, http.StatusForbidden, "this address is not served: use http://"+s.host)
			return
		}
		next.ServeHTTP(response, request)
	})
}

// loginPage stores the secret where only pages of this port read it, and then opens the dashboard by its own script: a
// redirect would count as a request of the site where the link was clicked, and the browser would not
// send the cookie.
const loginPage = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>nodecleanup</title><script src="/login.js" defer data-secret="%s"></script></head>
<body><p>Opening the dashboard. <a href="/">Continue</a></p></body></html>
`

const usedPage = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>nodecleanup</title></head>
<body><h1>This link no longer works</h1><p>A login link works once, for 5 minutes. For a new link, press Enter in the terminal of
<code>kubectl nodecleanup dashboard</code>, or start the command again.</p></body></html>
`

func (s *Server) login(response http.ResponseWriter, request *http.Request) {
	cookie, secret, ok := s.sessions.login(request.URL.Query().Get("token"))
	response.Header().Set("Content-Type", "text/html; charset=utf-8")
	if !ok {
		response.WriteHeader(http.StatusUnauthorized)
		write(response, usedPage)
		return
	}
	http.SetCookie(response, &http.Cookie{Name: s.cookie, Value: cookie, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
	write(response, fmt.Sprintf(loginPage, secret)) // The secret needs no escape: it is base64url.
}
