package jobspec

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"

	"github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/deep"
)

// serverFields are what Nomad's server fills in; they are no part of a spec.
var serverFields = []string{
	"Status", "StatusDescription", "Stable", "Version", "VersionTag", "SubmitTime",
	"CreateIndex", "ModifyIndex", "JobModifyIndex", "NomadTokenID", "Stop", "ParentID",
	"Dispatched", "DispatchIdempotencyToken", "Payload",
}

// tealMeta are the job's meta keys that are Teal's, whoever wrote them.
var tealMeta = []string{MetaService, MetaColour, MetaHash, MetaEpoch, MetaDeployment}

// spec is the job as a tree of JSON values, less everything that says which
// colour it is, that Teal writes over, or that the server fills in. Lists and
// maps without elements are the same as absent ones. The tree of a template
// and of each of its colours are equal. version tells whether APP_VERSION is
// Teal's or the user's own.
func spec(job *api.Job, version string) (map[string]any, error) {
	if hole(reflect.ValueOf(job)) {
		return nil, errHole
	}
	c := deep.Copy(job)
	template := templateID(c)
	keepServiceNames(c, template)
	c.ID = &template
	if text(c.Name) == "" {
		c.Name = &template
	}
	for _, key := range tealMeta {
		delete(c.Meta, key)
	}
	plainUpdate(c.Update)
	for _, g := range c.TaskGroups {
		g.Count = nil
		plainUpdate(g.Update)
		if g.Scaling != nil {
			g.Scaling.ID, g.Scaling.Namespace, g.Scaling.Target = "", "", nil
			g.Scaling.CreateIndex, g.Scaling.ModifyIndex = 0, 0
		}
		for _, s := range g.Services {
			unpaint(s)
		}
		for _, t := range g.Tasks {
			for _, s := range t.Services {
				unpaint(s)
			}
			delete(t.Env, EnvColour)
			if version != "" {
				delete(t.Env, EnvVersion)
			}
		}
	}
	settle(reflect.ValueOf(c))
	raw, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	var tree map[string]any
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&tree); err != nil {
		return nil, err
	}
	for _, f := range serverFields {
		delete(tree, f)
	}
	return tree, nil
}

// templateID is the ID without the colour that Teal gave to it. A user's own
// job that ends in a colour has no teal_colour meta.
func templateID(job *api.Job) string {
	id := text(job.ID)
	if c := job.Meta[MetaColour]; c != "" && len(id) > len(c)+1 && id[len(id)-len(c)-1:] == "-"+c {
		return id[:len(id)-len(c)-1]
	}
	return id
}

func unpaint(s *api.Service) {
	if !inConsul(s) {
		return
	}
	delete(s.Meta, MetaColour)
	delete(s.CanaryMeta, MetaColour)
	if s.Connect != nil && s.Connect.SidecarService != nil {
		delete(s.Connect.SidecarService.Meta, MetaColour)
	}
}

var errHole = errors.New("the job has an empty list element or no body")

// hole says whether a job lacks itself or an element of one of its lists,
// such as {"TaskGroups": [null]}. Nomad's parser gives no such job; a hand
// may.
func hole(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer:
		return v.IsNil() || hole(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Field(i)
			if f.Kind() == reflect.Pointer && f.IsNil() {
				continue // an optional field, not an element
			}
			if hole(f) {
				return true
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			if hole(v.Index(i)) {
				return true
			}
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			if hole(it.Value()) {
				return true
			}
		}
	}
	return false
}

// settle makes empty lists and maps nil. Pointers to empty structs keep their
// meaning (`mesh {}` is not the same as none).
func settle(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			settle(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() {
				settle(f)
			}
		}
	case reflect.Slice, reflect.Map:
		if v.Len() == 0 {
			if v.CanSet() {
				v.SetZero()
			}
			return
		}
		if v.Kind() == reflect.Slice {
			for i := range v.Len() {
				settle(v.Index(i))
			}
			return
		}
		for it := v.MapRange(); it.Next(); {
			if k := it.Value().Kind(); k == reflect.Pointer || k == reflect.Interface {
				settle(it.Value())
			}
		}
	}
}
