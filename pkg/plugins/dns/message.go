package dns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// Values of dynamic updates (RFC 2136, 1.3 and 2.4), which the package dnsmessage does not name.
const (
	opcodeUpdate = dnsmessage.OpCode(5)
	classNone    = dnsmessage.Class(254)
)

// recordTypes are the types of records that the plugin reads and removes.
func recordTypes() map[string]dnsmessage.Type {
	return map[string]dnsmessage.Type{"A": dnsmessage.TypeA, "AAAA": dnsmessage.TypeAAAA, "PTR": dnsmessage.TypePTR}
}

// question returns a message that asks for records, and does not ask for recursion.
func question(id uint16, name string, kind dnsmessage.Type) (dnsmessage.Message, error) {
	wire, err := dnsmessage.NewName(name)
	return dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id},
		Questions: []dnsmessage.Question{{Name: wire, Type: kind, Class: dnsmessage.ClassINET}},
	}, err
}

// removal returns an update that removes exactly these records (RFC 2136, 2.5.4).
func removal(id uint16, zone string, records []record) (dnsmessage.Message, error) {
	message, err := question(id, zone, dnsmessage.TypeSOA)
	message.OpCode = opcodeUpdate
	for _, one := range records {
		name, nameErr := dnsmessage.NewName(one.Name)
		body, bodyErr := bodyOf(one)
		if err = errors.Join(err, nameErr, bodyErr); err != nil {
			return message, fmt.Errorf("encoding %s: %w", one, err)
		}
		message.Authorities = append(message.Authorities, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: name, Class: classNone}, Body: body})
	}
	return message, err
}

func bodyOf(one record) (dnsmessage.ResourceBody, error) {
	if one.Type == "PTR" {
		name, err := dnsmessage.NewName(one.Content)
		return &dnsmessage.PTRResource{PTR: name}, err
	}
	address, err := netip.ParseAddr(one.Content)
	switch {
	case err != nil:
		return nil, err
	case address.Is4():
		return &dnsmessage.AResource{A: address.As4()}, nil
	default:
		return &dnsmessage.AAAAResource{AAAA: address.As16()}, nil
	}
}

// answer is the part of a message from the server that the plugin reads.
type answer struct {
	dnsmessage.Header
	records []answerRecord
	// signature is nil if the message has none.
	signature *signature
}

// answerRecord is one record in the section of answers. Content is empty unless the plugin reads the type.
type answerRecord struct {
	name    string
	kind    dnsmessage.Type
	content string
}

// parse reads a message.
func parse(message []byte) (answer, error) {
	var (
		parser dnsmessage.Parser
		result answer
		err    error
	)
	if result.Header, err = parser.Start(message); err != nil {
		return answer{}, err
	}
	if err := parser.SkipAllQuestions(); err != nil {
		return answer{}, err
	}
	for {
		header, err := parser.AnswerHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			break
		}
		if err != nil {
			return answer{}, err
		}
		one, err := answerOf(&parser, header)
		if err != nil {
			return answer{}, err
		}
		result.records = append(result.records, one)
	}
	result.signature, _, _, err = findSignature(message)
	return result, err
}

// answerOf reads the record after its header.
func answerOf(parser *dnsmessage.Parser, header dnsmessage.ResourceHeader) (answerRecord, error) {
	one := answerRecord{name: strings.ToLower(header.Name.String()), kind: header.Type}
	switch header.Type {
	case dnsmessage.TypeA:
		body, err := parser.AResource()
		one.content = netip.AddrFrom4(body.A).String()
		return one, err
	case dnsmessage.TypeAAAA:
		body, err := parser.AAAAResource()
		one.content = netip.AddrFrom16(body.AAAA).String()
		return one, err
	case dnsmessage.TypePTR:
		body, err := parser.PTRResource()
		if one.content = canonical("PTR", body.PTR.String()); err == nil && hostName.MatchString(one.content) {
			return one, nil
		}
		if err == nil {
			one.content = fmt.Sprintf("%q", one.content)
			return one, nil
		}
		// dnsmessage does not read labels that contain a dot. No Node has such a name.
		one.content = "a name with a dot in a label"
	}
	return one, parser.SkipAnswer()
}

// errMalformed: a message does not follow RFC 1035, or RFC 8945 for its signature.
var errMalformed = errors.New("the answer is malformed")

// findSignature returns the TSIG record of a message, its name, and where it begins: nil if the message has none. It is
// the last record, and there is only one (RFC 8945, 5.1).
func findSignature(message []byte) (found *signature, name string, start int, err error) {
	var parser dnsmessage.Parser
	if _, err := parser.Start(message); err != nil {
		return nil, "", 0, err
	}
	if err := errors.Join(parser.SkipAllQuestions(), parser.SkipAllAnswers(), parser.SkipAllAuthorities()); err != nil {
		return nil, "", 0, err
	}
	for {
		header, err := parser.AdditionalHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			break
		}
		if err != nil {
			return nil, "", 0, err
		}
		if found != nil {
			return nil, "", 0, errMalformed
		}
		if header.Type != typeTSIG {
			if err := parser.SkipAdditional(); err != nil {
				return nil, "", 0, err
			}
			continue
		}
		body, err := parser.UnknownResource()
		if err != nil {
			return nil, "", 0, err
		}
		if header.Class != classAny || header.TTL != 0 {
			return nil, "", 0, errMalformed
		}
		if found, err = signatureOf(body.Data); err != nil {
			return nil, "", 0, err
		}
		name = header.Name.String()
	}
	start, err = lastRecord(message)
	return found, name, start, err
}

// signatureOf reads the data of a TSIG record.
func signatureOf(data []byte) (*signature, error) {
	end, err := skipName(data, 0)
	const beforeMAC = 6 + 2 + 2 // The time, the fudge, and the size of the MAC.
	if err != nil || len(data) < end+beforeMAC {
		return nil, errMalformed
	}
	s := &signature{algorithm: data[:end]}
	data = data[end:]
	s.signed = uint64(binary.BigEndian.Uint16(data))<<32 | uint64(binary.BigEndian.Uint32(data[2:]))
	s.fudge = binary.BigEndian.Uint16(data[6:])
	size := int(binary.BigEndian.Uint16(data[8:]))
	data = data[beforeMAC:]
	const afterMAC = 2 + 2 + 2 // The id, the error, and the size of the other data.
	if len(data) < size+afterMAC {
		return nil, errMalformed
	}
	s.mac, data = data[:size], data[size:]
	s.id, s.code = binary.BigEndian.Uint16(data), binary.BigEndian.Uint16(data[2:])
	if s.other = data[afterMAC:]; len(s.other) != int(binary.BigEndian.Uint16(data[4:])) {
		return nil, errMalformed
	}
	return s, nil
}

// lastRecord returns where the last record of a message begins. dnsmessage does not tell it.
func lastRecord(message []byte) (start int, err error) {
	if len(message) < headerSize {
		return 0, errMalformed
	}
	const afterName, afterQuestion = 2 + 2 + 4 + 2, 2 + 2
	counts := [4]int{}
	for i := range counts {
		counts[i] = int(binary.BigEndian.Uint16(message[4+2*i:]))
	}
	end := headerSize
	for range counts[0] {
		if end, err = skipName(message, end); err != nil {
			return 0, err
		}
		end += afterQuestion
	}
	for range counts[1] + counts[2] + counts[3] {
		start = end
		if end, err = skipName(message, start); err != nil {
			return 0, err
		}
		if end += afterName; end > len(message) {
			return 0, errMalformed
		}
		end += int(binary.BigEndian.Uint16(message[end-2:]))
	}
	if end != len(message) {
		return 0, errMalformed
	}
	return start, nil
}

// skipName returns where a name ends (RFC 1035, 4.1.4).
func skipName(message []byte, start int) (end int, err error) {
	const pointer = 0xC0
	for end = start; end < len(message); {
		switch size := message[end]; {
		case size == 0:
			return end + 1, nil
		case size&pointer == pointer:
			return end + 2, nil
		case size&pointer != 0:
			return 0, errMalformed
		default:
			end += 1 + int(size)
		}
	}
	return 0, errMalformed
}
