package webhookplugin

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// The headers of a signed request.
const (
	// TimestampHeader has the time of the signature in Unix seconds.
	TimestampHeader = "Nodecleanup-Timestamp"
	// SignatureHeader has "v1=" and the HMAC-SHA256 in hexadecimal digits, of these lines without a
	// newline at the end: "v1", the timestamp, the method, the path with the query, and the body.
	SignatureHeader = "Nodecleanup-Signature"
)

// ReplayWindow is how old or how far in the future the timestamp of a valid signature can be.
const ReplayWindow = 5 * time.Minute

// Sign adds a signature of the request and its body. The path is that of the request's URL.
func Sign(request *http.Request, body, secret []byte, now time.Time) {
	timestamp := strconv.FormatInt(now.Unix(), 10)
	request.Header.Set(TimestampHeader, timestamp)
	request.Header.Set(SignatureHeader, signature(secret, timestamp, request.Method, request.URL.RequestURI(), body))
}

func signature(secret []byte, timestamp, method, path string, body []byte) string {
	code := hmac.New(sha256.New, secret)
	fmt.Fprintf(code, "%s\n%s\n%s\n%s\n", Version, timestamp, method, path)
	code.Write(body)
	return Version + "=" + hex.EncodeToString(code.Sum(nil))
}

// CheckSignature returns an error unless a request that a server received was signed with the secret
// within ReplayWindow. A proxy in front of the server must not change the path.
func CheckSignature(request *http.Request, body, secret []byte, now time.Time) error {
	if len(secret) == 0 {
		return errors.New("no secret to check the signature with")
	}
	timestamp := request.Header.Get(TimestampHeader)
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil {
		return errors.New("the header " + TimestampHeader + " is missing or no number")
	}
	// RequestURI is what was sent; a handler around this one may have changed the URL.
	want := signature(secret, timestamp, request.Method, request.RequestURI, body)
	if !hmac.Equal([]byte(want), []byte(request.Header.Get(SignatureHeader))) {
		return errors.New("the header " + SignatureHeader + " is missing or wrong")
	}
	if off := now.Sub(time.Unix(seconds, 0)); off > ReplayWindow || off < -ReplayWindow {
		return fmt.Errorf("the signature is not of the last %s", ReplayWindow)
	}
	return nil
}
