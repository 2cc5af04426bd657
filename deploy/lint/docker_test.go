package lint

import (
	"context"
	"debug/elf"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
	"github.com/opencontainers/go-digest"
)

const dockerfile = "../docker/Dockerfile"

// TestDockerfile_Lints is what `docker build --check` does: it needs no daemon.
func TestDockerfile_Lints(t *testing.T) {
	caps := pb.Caps.CapSet(pb.Caps.All())
	source := llb.NewSourceMap(nil, dockerfile, "Dockerfile", read(t, dockerfile))
	var err error
	if source.Definition, err = llb.Scratch().Marshal(t.Context()); err != nil {
		t.Fatal(err)
	}
	results, err := dockerfile2llb.DockerfileLint(t.Context(), read(t, dockerfile), dockerfile2llb.ConvertOpt{
		SourceMap:    source,
		MetaResolver: noRegistry{},
		LLBCaps:      &caps,
	})
	if err != nil {
		t.Fatal(err)
	}
	if results.Error != nil {
		t.Error(results.Error.Message)
	}
	for _, w := range results.Warnings {
		t.Errorf("%s: %s", w.RuleName, w.Detail)
	}
}

// TestDockerfile_Image runs the steps of the build, and then the image's one file as the image
// would: with nothing else in its root, for a user without rights, until STOPSIGNAL.
func TestDockerfile_Image(t *testing.T) {
	stages := stagesOf(t)
	root := buildImage(t, stages)
	config := imageConfig(t, stages[len(stages)-1])

	if os.Geteuid() != 0 {
		t.Skip("only root can change the root folder of a process")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0") // a free port
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	file := "server:\n  listen: " + address + "\nendpoints:\n  - host: deepseek\n    key: file:/run/secrets/deepseek\n"
	write(t, filepath.Join(root, "etc/breakwater/breakwater.yaml"), file)
	write(t, filepath.Join(root, "run/secrets/deepseek"), "sk-0123456789abcdef0123456789abcdef\n")

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	proxy := config.command(ctx, root, slices.Concat(config.entrypoint, config.cmd)...)
	stderr, err := proxy.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, 4096)
	n, _ := stderr.Read(said) // it speaks when it listens, or says why it cannot
	t.Logf("%s", said[:n])
	go io.Copy(io.Discard, stderr)
	if resp, err := http.Get("http://" + address + "/livez"); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("GET /livez: %v, %v", resp, err)
	}
	health := config.command(t.Context(), root, append(config.health, "http://"+address)...)
	if out, err := health.CombinedOutput(); err != nil {
		t.Errorf("HEALTHCHECK %q: %v\n%s", config.health, err, out)
	}
	if err := proxy.Process.Signal(config.stop); err != nil {
		t.Fatal(err)
	}
	if err := proxy.Wait(); err != nil {
		t.Errorf("it ended with %v after %v, want a clean end", err, config.stop)
	}
}

// noRegistry says of each image that it is for Linux, so that the linter asks no registry.
type noRegistry struct{}

func (noRegistry) ResolveImageConfig(_ context.Context, ref string, _ sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	config := []byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers"}}`)
	return ref, digest.FromBytes(config), config, nil
}

func stagesOf(t *testing.T) []instructions.Stage {
	t.Helper()
	parsed, err := parser.Parse(strings.NewReader(string(read(t, dockerfile))))
	if err != nil {
		t.Fatal(err)
	}
	stages, _, err := instructions.Parse(parsed.AST, nil)
	if err != nil {
		t.Fatal(err)
	}
	return stages
}

// buildImage does what the stages say: RUN in a copy of the build's context, COPY into the folder
// that it returns. It fails for an instruction that it does not know.
func buildImage(t *testing.T, stages []instructions.Stage) (root string) {
	t.Helper()
	src, out, root := t.TempDir(), t.TempDir(), t.TempDir()
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	env := outside()
	for i, stage := range stages {
		for _, command := range stage.Commands {
			switch c := command.(type) {
			case *instructions.WorkdirCommand:
				if c.Path != "/src" {
					t.Fatalf("%s: want /src", c)
				}
			case *instructions.EnvCommand:
				for _, pair := range c.Env {
					env = append(env, pair.Key+"="+pair.Value)
				}
			case *instructions.CopyCommand:
				if i == 0 {
					copyContext(t, src)
					continue
				}
				for _, path := range c.SourcePaths {
					from := path
					if strings.HasPrefix(path, "/out/") {
						from = filepath.Join(out, strings.TrimPrefix(path, "/out/"))
					}
					to := filepath.Join(root, c.DestPath)
					if strings.HasSuffix(c.DestPath, "/") {
						to = filepath.Join(to, filepath.Base(path))
					}
					write(t, to, string(read(t, from)))
					if err := os.Chmod(to, 0o755); err != nil {
						t.Fatal(err)
					}
				}
			case *instructions.RunCommand:
				line := strings.ReplaceAll(strings.Join(c.CmdLine, " "), "/out/", out+"/")
				run := exec.CommandContext(t.Context(), "sh", "-c", line)
				run.Dir, run.Env = src, env
				if said, err := run.CombinedOutput(); err != nil {
					t.Fatalf("RUN %s: %v\n%s", line, err, said)
				}
			case *instructions.UserCommand, *instructions.ExposeCommand, *instructions.StopSignalCommand,
				*instructions.HealthCheckCommand, *instructions.EntrypointCommand, *instructions.CmdCommand:
			default:
				t.Fatalf("%s: this test does not know the instruction", command)
			}
		}
	}
	requireStatic(t, filepath.Join(root, "breakwater"))
	return root
}

// copyContext copies the files of the repository that .dockerignore lets through.
func copyContext(t *testing.T, to string) {
	t.Helper()
	patterns, err := ignorefile.ReadAll(strings.NewReader(string(read(t, dockerfile+".dockerignore"))))
	if err != nil {
		t.Fatal(err)
	}
	ignored, err := patternmatcher.New(patterns)
	if err != nil {
		t.Fatal(err)
	}
	list := exec.CommandContext(t.Context(), "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = "../.."
	files, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.SplitSeq(strings.Trim(string(files), "\x00"), "\x00") {
		from := filepath.Join("../..", name)
		if skip, err := ignored.MatchesOrParentMatches(name); err != nil {
			t.Fatal(err)
		} else if info, err := os.Stat(from); skip || err != nil || !info.Mode().IsRegular() {
			continue // a file may be deleted and not yet committed
		}
		write(t, filepath.Join(to, name), string(read(t, from)))
	}
}

// requireStatic fails if a program needs a loader or a library: the image has none.
func requireStatic(t *testing.T, path string) {
	t.Helper()
	file, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, p := range file.Progs {
		if p.Type == elf.PT_INTERP {
			t.Errorf("%s is not static: it asks for a loader", path)
		}
	}
}

// An image has what a container is started with.
type image struct {
	entrypoint, cmd, health []string
	user                    uint32
	stop                    syscall.Signal
}

func imageConfig(t *testing.T, stage instructions.Stage) image {
	t.Helper()
	var i image
	for _, command := range stage.Commands {
		switch c := command.(type) {
		case *instructions.EntrypointCommand:
			i.entrypoint = c.CmdLine
		case *instructions.CmdCommand:
			i.cmd = c.CmdLine
		case *instructions.HealthCheckCommand:
			i.health = c.Health.Test[1:] // after CMD
		case *instructions.UserCommand:
			if c.User != "65532:65532" {
				t.Errorf("USER %s: want 65532:65532, which Kubernetes can tell from root", c.User)
			}
			i.user = 65532
		case *instructions.StopSignalCommand:
			if c.Signal != "SIGTERM" {
				t.Errorf("STOPSIGNAL %s: want SIGTERM, which drains", c.Signal)
			}
			i.stop = syscall.SIGTERM
		}
	}
	return i
}

// command returns a command that runs in the image.
func (i image) command(ctx context.Context, root string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env, cmd.Dir = []string{"PATH=/"}, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Chroot:     root,
		Credential: &syscall.Credential{Uid: i.user, Gid: i.user},
	}
	return cmd
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// write writes a file that everybody may read.
func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
