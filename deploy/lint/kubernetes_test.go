package lint

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// manifests returns the Kubernetes manifests.
func manifests(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../kubernetes/*/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d manifests, %v", len(files), err)
	}
	return files
}

// objects decodes a manifest as strictly as the API server does: an unknown field is an error.
func objects(t *testing.T, file string) (all []runtime.Object) {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, appsv1.AddToScheme, policyv1.AddToScheme, networkingv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	decoder := json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme, scheme, json.SerializerOptions{Yaml: true, Strict: true})
	documents := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(read(t, file))))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		object, _, err := decoder.Decode(document, nil, nil)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, object)
	}
}

// TestKubernetes_Manifests checks the types of all fields, and what the parts of a manifest say of
// each other.
func TestKubernetes_Manifests(t *testing.T) {
	for _, file := range manifests(t) {
		configs := 0
		for _, object := range objects(t, file) {
			switch o := object.(type) {
			case *corev1.ConfigMap:
				configs++
				requireConfig(t, file, []byte(o.Data["breakwater.yaml"]))
			case *appsv1.Deployment:
				requireLabels(t, file, o)
			}
		}
		if configs != 1 {
			t.Errorf("%s has %d ConfigMaps, want 1", file, configs)
		}
	}
}

func requireLabels(t *testing.T, file string, d *appsv1.Deployment) {
	t.Helper()
	for name, value := range d.Spec.Selector.MatchLabels {
		if d.Spec.Template.Labels[name] != value {
			t.Errorf("%s: the selector's label %s=%s is none of the pods'", file, name, value)
		}
	}
}

// TestKubernetes_Score has kube-score judge the manifests.
func TestKubernetes_Score(t *testing.T) {
	score := filepath.Join(tempFolder, "kube-score")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", score, "github.com/zegl/kube-score/cmd/kube-score")
	build.Dir = "../../tools"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	args := []string{"score", "--output-format", "ci",
		// A tag is a version here, and a registry that is down must not keep a pod from its restart.
		"--ignore-test", "container-image-pull-policy",
		// topologySpreadConstraints do that.
		"--ignore-test", "deployment-has-host-podantiaffinity"}
	out, err := exec.CommandContext(t.Context(), score, append(args, manifests(t)...)...).CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("[CRITICAL]")) || bytes.Contains(out, []byte("[WARNING]")) {
		t.Errorf("%v\n%s", err, out)
	}
}
