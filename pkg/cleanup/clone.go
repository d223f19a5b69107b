package cleanup

import "reflect"

// clone returns a copy of value that shares no slice, map or pointer with it, except in unexported
// fields. JSON decoding writes into existing slices, maps and pointers. Without a copy, the options of one step
// would change the defaults of the next one.
func clone(value reflect.Value) reflect.Value {
	result := reflect.New(value.Type()).Elem()
	result.Set(value)
	switch value.Kind() {
	case reflect.Struct:
		for i := range value.NumField() {
			if field := result.Field(i); field.CanSet() {
				field.Set(clone(value.Field(i)))
			}
		}
	case reflect.Slice:
		if !value.IsNil() {
			result.Set(reflect.MakeSlice(value.Type(), value.Len(), value.Len()))
		}
		for i := range value.Len() {
			result.Index(i).Set(clone(value.Index(i)))
		}
	case reflect.Map:
		if !value.IsNil() {
			result.Set(reflect.MakeMap(value.Type()))
		}
		for key, element := range value.Seq2() {
			result.SetMapIndex(key, clone(element))
		}
	case reflect.Pointer:
		if !value.IsNil() {
			result.Set(reflect.New(value.Type().Elem()))
			result.Elem().Set(clone(value.Elem()))
		}
	}
	return result
}
