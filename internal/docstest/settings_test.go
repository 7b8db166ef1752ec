package docstest

import (
	"reflect"
	"strings"
	"testing"

	"github.com/IBM/sarama"
)

// TestEachSettingIsInThePage wants each field of sarama.Config that producers may heed in docs/from-sarama.md, by its name.
func TestEachSettingIsInThePage(t *testing.T) {
	page := pages(t)["docs/from-sarama.md"]
	n := 0
	var look func(path string, typ reflect.Type)
	look = func(path string, typ reflect.Type) {
		for i := range typ.NumField() {
			field := typ.Field(i)
			if !field.IsExported() || path == "" && (field.Name == "Admin" || field.Name == "Consumer") {
				continue
			}
			name := path + field.Name
			if field.Type.Kind() == reflect.Struct && field.Type.PkgPath() == "" || field.Anonymous {
				look(name+".", field.Type)
				continue
			}
			n++
			if !strings.Contains(page, "`"+name+"`") {
				t.Errorf("docs/from-sarama.md does not say what `%s` does here", name)
			}
		}
	}
	look("", reflect.TypeFor[sarama.Config]())
	if n < 50 {
		t.Errorf("sarama.Config has only %d settings", n)
	}
}
