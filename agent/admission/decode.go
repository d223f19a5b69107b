package admission

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// decode reads a review in one pass: all that is looked at. A Node is about 15 KiB, most
// of which are its images; those are only seen to be JSON. It refuses what a lenient
// reader could take for something else than the API server does: a name twice among what
// is looked at, text that is no UTF-8.
func decode(body []byte) (*admissionv1.AdmissionReview, error) {
	var asked message
	if err := json.Unmarshal(body, &asked, jsontext.AllowDuplicateNames(true)); err != nil {
		return nil, err
	}
	return &asked.AdmissionReview, nil
}

// message is an AdmissionReview of which only what is looked at is read.
type message struct{ admissionv1.AdmissionReview }

func (m *message) UnmarshalJSONFrom(decoder *jsontext.Decoder) error {
	return members(decoder, func(name string) field {
		switch name {
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

func (m *message) readRequest(decoder *jsontext.Decoder) error {
	if decoder.PeekKind() == 'n' {
		return decoder.SkipValue()
	}
	m.Request = &admissionv1.AdmissionRequest{}
	return members(decoder, func(name string) field {
		switch name {
		case "uid":
			return text(&m.Request.UID)
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

func (m *message) readResource(decoder *jsontext.Decoder) error {
	return members(decoder, func(name string) field {
		switch name {
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

func (m *message) readObject(decoder *jsontext.Decoder) error {
	return members(decoder, func(name string) field {
		if name == "metadata" {
			return m.readMetadata
		}
		return nil
	})
}

func (m *message) readMetadata(decoder *jsontext.Decoder) error {
	if decoder.PeekKind() == 'n' {
		return decoder.SkipValue()
	}
	node := &metav1.PartialObjectMetadata{}
	m.Request.Object.Object = node
	return members(decoder, func(name string) field {
		switch name {
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

// labelsInto reads labels, none of them twice.
func labelsInto(target *map[string]string) field {
	return func(decoder *jsontext.Decoder) error {
		read := map[string]string{}
		*target = read
		return each(decoder, func(name string) error {
			if _, there := read[name]; there {
				return twice(name)
			}
			var value string
			err := readText(decoder, &value)
			read[name] = value
			return err
		})
	}
}
