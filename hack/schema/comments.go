package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"strings"
)

const module = "github.com/nodecleanup/kubectl-nodecleanup/"

// comments reads the doc comments of types in this repository. jsonschema.Reflector reads only
// those of exported types.
type comments struct {
	root string
	// byPackage holds the comments of a folder by "type" and "type.field".
	byPackage map[string]map[string]string
}

// of returns the description of a type, or of its field.
func (c *comments) of(t reflect.Type, field string) (string, error) {
	folder, ours := strings.CutPrefix(t.PkgPath(), module)
	if !ours || field == "" {
		return "", nil
	}
	if c.byPackage[folder] == nil {
		found, err := commentsIn(filepath.Join(c.root, folder))
		if err != nil {
			return "", err
		}
		if c.byPackage == nil {
			c.byPackage = map[string]map[string]string{}
		}
		c.byPackage[folder] = found
	}
	text := c.byPackage[folder][t.Name()+"."+field]
	if text == "" && t.Name() != "" {
		return "", fmt.Errorf("field %s of type %s has no doc comment", field, t)
	}
	return phrase(field, text), nil
}

func commentsIn(folder string) (map[string]string, error) {
	paths, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		ast.Inspect(file, func(node ast.Node) bool {
			declared, is := node.(*ast.TypeSpec)
			if !is {
				return true
			}
			structure, is := declared.Type.(*ast.StructType)
			if !is {
				return true
			}
			for _, field := range structure.Fields.List {
				for _, name := range field.Names {
					found[declared.Name.Name+"."+name.Name] = field.Doc.Text()
				}
			}
			return true
		})
	}
	return found, nil
}
