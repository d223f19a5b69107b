package printer

import "encoding/json"

// StoredConfig is the view of the config on the cluster.
type StoredConfig struct {
	// Name of the object that stores it.
	Name string
	// Content as it is written. It has apiVersion and kind.
	Content map[string]any
}

// MarshalJSON returns the content.
func (c StoredConfig) MarshalJSON() ([]byte, error) { return json.Marshal(c.Content) }

// Text writes the name of the object.
func (c StoredConfig) Text(text *Text) { text.Line("%s", c.Name) }

// Names returns the name of the object.
func (c StoredConfig) Names() []string { return []string{c.Name} }
