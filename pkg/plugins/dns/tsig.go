package dns

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"strings"
	"time"
)

// algorithms are the algorithms of TSIG keys by their name (RFC 8945, 6).
func algorithms() map[string]func() hash.Hash {
	return map[string]func() hash.Hash{
		"hmac-sha1": sha1.New, "hmac-sha224": sha256.New224, "hmac-sha256": sha256.New, "hmac-sha384": sha512.New384, "hmac-sha512": sha512.New,
	}
}

const (
	// fudge is by how much the clocks may differ, in seconds: the value that RFC 8945, 10 recommends.
	fudge = 300

	typeTSIG = 250
	classAny = 255
	// headerSize is the size of the header of a message, which ends with the number of additional records.
	headerSize = 12
)

// tsigKey signs requests, and verifies answers with the same secret (TSIG, RFC 8945).
type tsigKey struct {
	// name is absolute, in lower case.
	name string
	// algorithm is a key of algorithms.
	algorithm string
	secret    []byte
}

// signature is what a TSIG record contains (RFC 8945, 4.2), except its name.
type signature struct {
	algorithm []byte // In wire format.
	signed    uint64 // Seconds since 1970.
	fudge     uint16 // Seconds.
	mac       []byte
	id        uint16
	code      uint16
	other     []byte
}

// sign returns a message with its signature, and the MAC in it.
func (k tsigKey) sign(message []byte, now time.Time) (signed, mac []byte) {
	s := signature{algorithm: wireName(k.algorithm + "."), signed: uint64(now.Unix()), fudge: fudge, id: binary.BigEndian.Uint16(message)}
	s.mac = k.digest(message, s, nil)
	data := appendUint48(s.algorithm, s.signed)
	data = binary.BigEndian.AppendUint16(data, s.fudge)
	data = append(binary.BigEndian.AppendUint16(data, uint16(len(s.mac))), s.mac...)
	data = binary.BigEndian.AppendUint16(data, s.id)
	data = append(data, 0, 0, 0, 0) // No error and no other data.

	signed = append(bytes.Clone(message), wireName(k.name)...)
	signed = binary.BigEndian.AppendUint16(signed, typeTSIG)
	signed = binary.BigEndian.AppendUint16(signed, classAny)
	signed = append(signed, 0, 0, 0, 0) // The TTL.
	signed = append(binary.BigEndian.AppendUint16(signed, uint16(len(data))), data...)
	addAdditional(signed, 1)
	return signed, s.mac
}

// errUnsigned: the answer has no signature.
var errUnsigned = errors.New("the answer is not signed, so it may be forged")

// verify returns an error unless an answer has a signature of the key for the request with that MAC. The order of the
// checks is that of RFC 8945, 5.2: the key, the MAC, the time.
func (k tsigKey) verify(answer, requestMAC []byte, now time.Time) error {
	s, name, start, err := findSignature(answer)
	switch {
	case err != nil:
		return err
	case s == nil:
		return errUnsigned
	case !strings.EqualFold(name, k.name) || !bytes.EqualFold(s.algorithm, wireName(k.algorithm+".")):
		return errors.New("the answer is signed with another key or algorithm")
	}
	unsigned := bytes.Clone(answer[:start])
	binary.BigEndian.PutUint16(unsigned, s.id)
	addAdditional(unsigned, -1)
	// hmac.Equal takes the same time whatever differs. It refuses a truncated MAC, too.
	if !hmac.Equal(k.digest(unsigned, *s, requestMAC), s.mac) {
		return errors.New("the signature of the answer is wrong")
	}
	if difference := now.Unix() - int64(s.signed); max(difference, -difference) > int64(s.fudge) {
		return fmt.Errorf("the answer was signed %d seconds before it arrived, and the clocks may differ by %d seconds", difference, s.fudge)
	}
	return nil
}

// digest returns the MAC of a message without its TSIG record (RFC 8945, 4.3.3). An answer has the MAC of its request.
func (k tsigKey) digest(message []byte, s signature, requestMAC []byte) []byte {
	var data []byte
	if requestMAC != nil {
		data = append(binary.BigEndian.AppendUint16(nil, uint16(len(requestMAC))), requestMAC...)
	}
	data = append(data, message...)
	data = append(data, wireName(k.name)...)
	data = binary.BigEndian.AppendUint16(data, classAny)
	data = append(data, 0, 0, 0, 0) // The TTL.
	data = append(data, wireName(k.algorithm+".")...)
	data = appendUint48(data, s.signed)
	data = binary.BigEndian.AppendUint16(data, s.fudge)
	data = binary.BigEndian.AppendUint16(data, s.code)
	data = append(binary.BigEndian.AppendUint16(data, uint16(len(s.other))), s.other...)
	mac := hmac.New(algorithms()[k.algorithm], k.secret)
	mac.Write(data)
	return mac.Sum(nil)
}

// wireName returns an absolute name in the wire format, without compression.
func wireName(name string) []byte {
	var wire []byte
	for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
		wire = append(append(wire, byte(len(label))), label...)
	}
	return append(wire, 0)
}

func appendUint48(data []byte, value uint64) []byte {
	return append(data, binary.BigEndian.AppendUint64(nil, value)[2:]...)
}

// addAdditional changes the number of additional records in the header of a message.
func addAdditional(message []byte, by int) {
	count := message[headerSize-2 : headerSize]
	binary.BigEndian.PutUint16(count, uint16(int(binary.BigEndian.Uint16(count))+by))
}
