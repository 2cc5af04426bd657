package repetition

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A text is one of the corpus.
type text struct {
	name, is string
}

// written returns the texts of testdata/plain, which were written for this test: a ballad
// with its refrain, a song that grows, ninety-nine bottles, Chinese verses and prose, lists,
// tables, ASCII art, code that repeats itself as boilerplate does, a chain of doubtful
// reasoning.
func written(t *testing.T) []text { return textsOf(t, "testdata/plain", 0) }

// repository returns this repository's own texts: code, documents, test data.
func repository(t *testing.T) []text { return textsOf(t, "../..", 4<<10) }

func textsOf(t *testing.T, root string, least int) (texts []text) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && (e.Name() == ".git" || path == "../../internal/repetition"):
			return filepath.SkipDir
		case e.IsDir():
			return nil
		}
		is, err := os.ReadFile(path)
		if len(is) >= least {
			texts = append(texts, text{path, string(is)})
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts
}

// made returns texts of the kinds that programs write, too, and that models are asked for.
// Each has at least 64 KiB.
func made() []text {
	r := rand.New(rand.NewSource(19))
	of := func(name string, line func(i int) string) text {
		var b strings.Builder
		for i := 0; b.Len() < 64<<10; i++ {
			b.WriteString(line(i))
		}
		return text{name, b.String()}
	}
	random := make([]byte, 48<<10)
	r.Read(random)
	pick := func(of ...string) string { return of[r.Intn(len(of))] }
	return []text{
		{"base64", base64.StdEncoding.EncodeToString(random)},
		{"hex dump", hex.Dump(random)},
		of("hex dump of a file with gaps", func(i int) string {
			line := make([]byte, 16)
			if i%64 > 40 {
				r.Read(line)
			}
			return fmt.Sprintf("%08x: % x\n", i*16, line)
		}),
		of("CSV of numbers", func(i int) string { return fmt.Sprintf("%d,%d,%.2f\n", i, r.Intn(100), r.Float64()) }),
		of("CSV of small numbers", func(int) string { return fmt.Sprintf("%d,%d,%d\n", r.Intn(2), r.Intn(2), r.Intn(3)) }),
		of("CSV of a month", func(i int) string {
			return fmt.Sprintf("2026-%02d-%02d,%s,%d,open\n", i/28%12+1, i%28+1, pick("north", "south"), r.Intn(5))
		}),
		of("list of numbers", func(int) string { return fmt.Sprintf("%d, ", r.Intn(10)) }),
		of("squares", func(i int) string { return fmt.Sprintf("%d squared is %d\n", i, i*i) }),
		of("digits of a number", func(int) string { return fmt.Sprint(r.Intn(10)) }),
		of("bits", func(int) string { return fmt.Sprint(r.Intn(2)) }),
		of("log", func(i int) string {
			return fmt.Sprintf("2026-11-27T%02d:%02d:%02d.%03dZ INFO request served id=%d status=200 took=%dms\n", i/3600, i/60%60, i%60, r.Intn(1000), i, r.Intn(40))
		}),
		of("log of one event", func(i int) string {
			return fmt.Sprintf("Nov 27 %02d:%02d:%02d host kernel: [%d.%06d] link is up\n", i/3600, i/60%60, i%60, i, r.Intn(1e6))
		}),
		of("log of two events", func(i int) string {
			return fmt.Sprintf("%02d:%02d:%02d %s\n", i/3600, i/60%60, i%60, pick("ok", "retry"))
		}),
		of("JSON array of objects", func(i int) string {
			return fmt.Sprintf(`{"id":%d,"name":"item","price":%d,"tags":[],"stock":null},`, i, r.Intn(1000))
		}),
		of("JSON array of points", func(i int) string { return fmt.Sprintf(`{"x":%d,"y":%.1f},`, i, r.Float64()) }),
		of("SQL", func(i int) string {
			return fmt.Sprintf("INSERT INTO readings (id, sensor, value) VALUES (%d, 'main', %d);\n", i, r.Intn(30))
		}),
		of("SVG path", func(int) string { return fmt.Sprintf("L %d %d ", r.Intn(400), r.Intn(300)) }),
		of("multiplication tables", func(i int) string {
			return fmt.Sprintf("%d x %d = %d\n", i/12+1, i%12+1, (i/12+1)*(i%12+1))
		}),
		of("tests of a table", func(i int) string {
			return fmt.Sprintf("\t{name: \"case %d\", in: %d, want: %t},\n", i, r.Intn(50), r.Intn(2) == 0)
		}),
		of("chess moves", func(i int) string { return fmt.Sprintf("%d. Nf3 Nf6 %s ", i, pick("2. Ng1 Ng8", "e4 e5")) }),
		of("yes and no", func(int) string { return pick("yes\n", "no\n") }),
		of("rule lines", func(i int) string {
			return strings.Repeat(pick("=", "-", "*", "#"), 78) + fmt.Sprintf("\nSection %s\n", pick("one", "two", "three"))
		}),
		of("地址", func(i int) string {
			return fmt.Sprintf("第%d条：住址为%s路%d号。\n", i, pick("南京", "北京", "人民"), r.Intn(300))
		}),
	}
}

// asked returns texts that repeat themselves because a user asked for it. Each is short
// enough for the limit that it is tested with.
func asked(limit int) []text {
	upTo := func(name string, line func(i int) string) text {
		var b strings.Builder
		for i := 1; ; i++ {
			line := line(i)
			if b.Len()+len(line) > limit {
				return text{name, "Certainly! Here it is:\n\n" + b.String() + "\n\nThat is all of it. Is there more that I can do?"}
			}
			b.WriteString(line)
		}
	}
	return []text{
		upTo("write it a hundred times", func(int) string { return "I will not waste chalk.\n" }),
		upTo("write it and count", func(i int) string { return fmt.Sprintf("%d. I will not waste chalk.\n", i) }),
		upTo("one character", func(int) string { return "a" }),
		upTo("a line of =", func(int) string { return "=" }),
		upTo("a line of -", func(int) string { return "-" }),
		upTo("zeros", func(i int) string {
			if i%64 == 0 {
				return "0],\n["
			}
			return "0, "
		}),
		upTo("equal objects", func(int) string { return `{"type":"placeholder","value":null},` }),
		upTo("equal objects with ids", func(i int) string { return fmt.Sprintf(`{"id":%d,"value":null},`, i) }),
		upTo("一百遍", func(int) string { return "我再也不迟到了。" }),
		upTo("count to", func(i int) string { return fmt.Sprintf("%d\n", i) }),
	}
}
