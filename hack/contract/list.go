package main

import (
	"bytes"
	"fmt"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// list returns the exported API of the packages, sorted, one declaration per line.
func list(paths []string) ([]string, error) {
	exports, err := exportData(paths)
	if err != nil {
		return nil, err
	}
	from := importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	var lines []string
	for _, path := range paths {
		loaded, err := from.Import(path)
		if err != nil {
			return nil, fmt.Errorf("reading package %s: %w", path, err)
		}
		lines = append(lines, promises(loaded)...)
	}
	slices.Sort(lines)
	return lines, nil
}

// exportData compiles the packages, and returns the export data files of the packages and their imports.
func exportData(paths []string) (map[string]string, error) {
	command := exec.Command("go", append([]string{"list", "-deps", "-export", "-f", "{{.ImportPath}} {{.Export}}"}, paths...)...)
	command.Stderr = os.Stderr
	output, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("compiling the packages: %w", err)
	}
	exports := map[string]string{}
	for line := range bytes.Lines(output) {
		path, file, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
		exports[path] = file
	}
	return exports, nil
}

// promises returns a line for each exported object of a package.
func promises(of *types.Package) []string {
	name := func(other *types.Package) string {
		if other == of {
			return ""
		}
		return other.Name()
	}
	var lines []string
	add := func(format string, arguments ...any) {
		lines = append(lines, of.Name()+": "+fmt.Sprintf(format, arguments...))
	}
	for _, identifier := range of.Scope().Names() {
		object := of.Scope().Lookup(identifier)
		if !object.Exported() {
			continue
		}
		declared, isType := object.(*types.TypeName)
		if constant, is := object.(*types.Const); is {
			add("const %s %s = %s", identifier, types.TypeString(object.Type(), name), constant.Val().ExactString())
		} else if !isType {
			add("%s", types.ObjectString(object, name))
		} else {
			for _, line := range describe(declared, name) {
				add("%s", line)
			}
		}
	}
	return lines
}

// describe returns a line for a type, for each of its exported fields, and for each of its exported methods.
// For an alias, these are the fields and methods of the type that it stands for.
func describe(declared *types.TypeName, name types.Qualifier) []string {
	of := types.Unalias(declared.Type())
	identifier := declared.Name()
	var lines []string
	switch shape := of.Underlying().(type) {
	case *types.Struct:
		lines = append(lines, "type "+identifier+" struct")
		for field := range shape.Fields() {
			if field.Exported() {
				lines = append(lines, "field "+identifier+"."+field.Name()+" "+types.TypeString(field.Type(), name))
			}
		}
	case *types.Interface:
		return []string{"type " + identifier + " " + types.TypeString(shape, name)}
	default:
		lines = append(lines, "type "+identifier+" "+types.TypeString(shape, name))
	}
	for method := range types.NewMethodSet(types.NewPointer(of)).Methods() {
		if method.Obj().Exported() {
			signature := strings.TrimPrefix(types.TypeString(method.Type(), name), "func")
			lines = append(lines, "method "+identifier+"."+method.Obj().Name()+signature)
		}
	}
	return lines
}
