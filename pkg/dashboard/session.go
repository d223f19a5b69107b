package dashboard

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"sync"
	"time"
)

const (
	// linkLife is how long a login link works.
	linkLife = 5 * time.Minute
	// maxLinks and maxSessions limit what a process keeps. The oldest is dropped first.
	maxLinks, maxSessions = 16, 16
	// secretHeader carries the secret that only the page knows. A cookie alone does not suffice: a browser
	// sends the cookies of 127.0.0.1 to the servers of every port.
	secretHeader = "Nodecleanup-Session"
)

// sessions holds who may read. It keeps hashes only, and all of it ends with the process.
type sessions struct {
	now func() time.Time

	mutex sync.Mutex
	// links are the unused login links, oldest first.
	links []link
	// open are the sessions, oldest first.
	open []session
}

type link struct {
	token   digest
	expires time.Time
}

// session is one login: the value of its cookie, and the secret of its page.
type session struct{ cookie, secret digest }

type digest [sha256.Size]byte

func digestOf(text string) digest { return sha256.Sum256([]byte(text)) }

// random returns 256 bits.
func random() string {
	var bytes [32]byte
	rand.Read(bytes[:]) // It never returns an error.
	return base64.RawURLEncoding.EncodeToString(bytes[:])
}

// newLink returns the token of a new login link.
func (s *sessions) newLink() string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	token := random()
	s.links = append(s.links, link{digestOf(token), s.now().Add(linkLife)})
	s.links = s.links[max(0, len(s.links)-maxLinks):]
	return token
}

// login opens a session for the token of a link, which then never works again. Digests are compared, so the
// time that a comparison takes tells nothing about the token.
func (s *sessions) login(token string) (cookie, secret string, ok bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	wanted := digestOf(token)
	for i, one := range s.links {
		if one.token != wanted {
			continue
		}
		s.links = append(s.links[:i:i], s.links[i+1:]...)
		if s.now().After(one.expires) {
			return "", "", false
		}
		cookie, secret = random(), random()
		s.open = append(s.open, session{digestOf(cookie), digestOf(secret)})
		s.open = s.open[max(0, len(s.open)-maxSessions):]
		return cookie, secret, true
	}
	return "", "", false
}

// allows reports whether a request has the cookie and the secret of one session.
func (s *sessions) allows(request *http.Request, cookieName string) bool {
	cookie, err := request.Cookie(cookieName)
	if err != nil {
		return false
	}
	wanted := session{digestOf(cookie.Value), digestOf(request.Header.Get(secretHeader))}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for _, one := range s.open {
		if one == wanted {
			return true
		}
	}
	return false
}
