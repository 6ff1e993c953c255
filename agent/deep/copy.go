// Package deep copies plain data: what comes from JSON and goes back to it.
package deep

import (
	"reflect"
	"sync"
)

// Copy is a value that shares nothing with v: no pointer, slice or map. It
// knows neither cycles nor channels and functions, and of a struct's unexported
// fields it copies what they hold, not what they point to.
func Copy[T any](v T) T {
	var out T
	copyTo(reflect.ValueOf(&out).Elem(), reflect.ValueOf(&v).Elem())
	return out
}

func copyTo(to, from reflect.Value) {
	if flat(from.Type()) {
		to.Set(from)
		return
	}
	switch from.Kind() {
	case reflect.Pointer:
		if from.IsNil() {
			return
		}
		to.Set(reflect.New(from.Type().Elem()))
		copyTo(to.Elem(), from.Elem())
	case reflect.Interface:
		if from.IsNil() {
			return
		}
		held := reflect.New(from.Elem().Type()).Elem()
		copyTo(held, from.Elem())
		to.Set(held)
	case reflect.Slice:
		if from.IsNil() {
			return
		}
		to.Set(reflect.MakeSlice(from.Type(), from.Len(), from.Len()))
		if flat(from.Type().Elem()) {
			reflect.Copy(to, from)
			return
		}
		for i := range from.Len() {
			copyTo(to.Index(i), from.Index(i))
		}
	case reflect.Array:
		for i := range from.Len() {
			copyTo(to.Index(i), from.Index(i))
		}
	case reflect.Map:
		if from.IsNil() {
			return
		}
		to.Set(reflect.MakeMapWithSize(from.Type(), from.Len()))
		for each := from.MapRange(); each.Next(); {
			value := reflect.New(from.Type().Elem()).Elem()
			copyTo(value, each.Value())
			to.SetMapIndex(each.Key(), value)
		}
	case reflect.Struct:
		to.Set(from)
		for i := range from.NumField() {
			if f := from.Type().Field(i); f.IsExported() && !flat(f.Type) {
				to.Field(i).SetZero()
				copyTo(to.Field(i), from.Field(i))
			}
		}
	default:
		to.Set(from)
	}
}

// flats remembers which types are flat.
var flats sync.Map

// flat says whether values of a type are copied by assigning them.
func flat(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Interface, reflect.Slice, reflect.Map:
		return false
	case reflect.Array:
		return flat(t.Elem())
	case reflect.Struct:
		if known, ok := flats.Load(t); ok {
			return known.(bool)
		}
		is := true
		for i := range t.NumField() {
			f := t.Field(i)
			is = is && (!f.IsExported() || flat(f.Type))
		}
		flats.Store(t, is)
		return is
	}
	return true
}
