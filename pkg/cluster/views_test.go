package cluster

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// A Watcher shows nothing before its lists are complete. The commands watch in no other way.
func TestCommandsWatchOnlyThroughAWatcher(t *testing.T) {
	files := 0
	for _, root := range []string{"../cli", "../install", "../printer"} {
		if err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			files++
			fileSet := token.NewFileSet()
			file, err := parser.ParseFile(fileSet, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			for _, one := range file.Imports {
				name, err := strconv.Unquote(one.Path.Value)
				if err != nil {
					return err
				}
				if strings.HasPrefix(name, "k8s.io/client-go/informers") || name == "k8s.io/client-go/tools/cache" || name == "k8s.io/client-go/tools/watch" {
					t.Errorf("%s imports %s", path, name)
				}
			}
			ast.Inspect(file, func(node ast.Node) bool {
				if call, is := node.(*ast.CallExpr); is {
					if selector, is := call.Fun.(*ast.SelectorExpr); is && selector.Sel.Name == "Watch" {
						t.Errorf("%s calls Watch", fileSet.Position(call.Pos()))
					}
				}
				return true
			})
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if files < 50 {
		t.Errorf("only %d files were read", files)
	}
}
