package admission

import (
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// decode reads a review in one pass: all that is looked at. A Node is about 15 KiB, most
// of which are its images; those are only seen to be JSON. It refuses what a lenient
// reader could take for something else than the API server does: a name twice among what
// is looked at, text that is no UTF-8.
func decode(body []byte) (*admissionv1.AdmissionReview, error) {
	var asked message
	s := &scanner{data: body}
	if err := asked.read(s); err != nil {
		return nil, err
	}
	return &asked.AdmissionReview, s.end()
}

// message is an AdmissionReview of which only what is looked at is read.
type message struct{ admissionv1.AdmissionReview }

func (m *message) read(s *scanner) error {
	return members(s, func(name []byte) field {
		switch string(name) {
		case "apiVersion":
			return text(&m.APIVersion)
		case "kind":
			return text(&m.Kind)
		case "request":
			return m.readRequest
		}
		return nil
	})
}

func (m *message) readRequest(s *scanner) error {
	if s.peek() == 'n' {
		return s.skip()
	}
	m.Request = &admissionv1.AdmissionRequest{}
	return members(s, func(name []byte) field {
		switch string(name) {
		case "uid":
			return text(&m.Request.UID)
		case "kind":
			return m.readKind
		case "resource":
			return m.readResource
		case "subResource":
			return text(&m.Request.SubResource)
		case "operation":
			return text(&m.Request.Operation)
		case "object":
			return m.readObject
		}
		return nil
	})
}

func (m *message) readKind(s *scanner) error {
	return members(s, func(name []byte) field {
		switch string(name) {
		case "group":
			return text(&m.Request.Kind.Group)
		case "version":
			return text(&m.Request.Kind.Version)
		case "kind":
			return text(&m.Request.Kind.Kind)
		}
		return nil
	})
}

func (m *message) readResource(s *scanner) error {
	return members(s, func(name []byte) field {
		switch string(name) {
		case "group":
			return text(&m.Request.Resource.Group)
		case "version":
			return text(&m.Request.Resource.Version)
		case "resource":
			return text(&m.Request.Resource.Resource)
		}
		return nil
	})
}

func (m *message) readObject(s *scanner) error {
	return members(s, func(name []byte) field {
		if string(name) == "metadata" {
			return m.readMetadata
		}
		return nil
	})
}

func (m *message) readMetadata(s *scanner) error {
	if s.peek() == 'n' {
		return s.skip()
	}
	node := &metav1.PartialObjectMetadata{}
	m.Request.Object.Object = node
	return members(s, func(name []byte) field {
		switch string(name) {
		case "name":
			return text(&node.Name)
		case "labels":
			return labelsInto(&node.Labels)
		case "finalizers":
			return into(&node.Finalizers)
		case "deletionTimestamp":
			return into(&node.DeletionTimestamp)
		}
		return nil
	})
}

// usualLabels is how many labels a Node of a cloud has.
const usualLabels = 16

// labelsInto reads labels, none of them twice.
func labelsInto(target *map[string]string) field {
	return func(s *scanner) error {
		read := make(map[string]string, usualLabels)
		*target = read
		return each(s, func(name []byte) error {
			if _, there := read[string(name)]; there {
				return twice(name)
			}
			var value string
			err := readText(s, &value)
			read[string(name)] = value
			return err
		})
	}
}
