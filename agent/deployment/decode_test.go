package deployment

import (
	"strings"
	"testing"
)

// One approver consents once, whatever a record says: two entries would be a quorum.
func TestRecordOfAnApproverWhoConsentsTwice(t *testing.T) {
	record := `{"deployment":{"state":"awaiting-approval","from":"blue","to":"green","ask":{"quorum":2,"approvers":["alice","bob"],"consents":[{"by":"alice"},{"by":"WHO"}]}}}`
	if s, err := Decode("api", []byte(strings.Replace(record, "WHO", "alice", 1))); err == nil || !strings.Contains(err.Error(), `"alice" consents twice`) {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := Decode("api", []byte(strings.Replace(record, "WHO", "bob", 1))); err != nil {
		t.Error(err)
	}
}

// A record that says that it is another service's is not taken for this one's:
// what is done about it would be done to the other.
func TestRecordOfAnotherService(t *testing.T) {
	if s, err := Decode("api", []byte(`{"name":"db","active":"blue"}`)); err == nil || !strings.Contains(err.Error(), `the record of api cannot be read: it says that it is the one of "db"`) {
		t.Errorf("%+v, %v", s, err)
	}
	for _, own := range []string{`{"name":"api"}`, `{}`} {
		if s, err := Decode("api", []byte(own)); err != nil || s.Name != "api" {
			t.Errorf("%s: %+v, %v", own, s, err)
		}
	}
}
