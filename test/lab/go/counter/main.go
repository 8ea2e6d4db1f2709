// counter is a stateful program for the tests: a counter and a block of random memory that nobody else has. It answers
// over HTTP, writes its count to standard output once a second, and tells what of its surroundings it sees.
//
//	MB         size of the block in MiB (default 1)
//	LOAD       what is in the block: random (default), compressible (a quarter of each page is random), idle5 (random, and
//	           5 % of its pages are written every second, not counted in the checksum)
//	JOURNAL    a file to which every count is appended, to see volumes travel
//	PORT       where it listens (default 8080)
//	FINISH     end with exit code 0 at this count (0: never)
package main

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"
)

func setting(name string, fallback int) int {
	if value, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return value
	}
	return fallback
}

func main() {
	block := newBlock(setting("MB", 1)<<20, os.Getenv("LOAD"))
	birth := make([]byte, 8)
	rand.Read(birth)
	var count atomic.Int64
	finish := int64(setting("FINISH", 0))
	var journal *os.File
	if path := os.Getenv("JOURNAL"); path != "" {
		file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
		if err != nil {
			panic(err)
		}
		journal = file
	}
	go func() {
		for range time.Tick(100 * time.Millisecond) {
			now := count.Add(1)
			if journal != nil {
				fmt.Fprintln(journal, now)
			}
			if now%10 == 0 {
				fmt.Println(now)
			}
			if finish > 0 && now >= finish {
				os.Exit(0)
			}
		}
	}()
	http.HandleFunc("/", func(response http.ResponseWriter, _ *http.Request) {
		token, _ := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/token")
		json.NewEncoder(response).Encode(map[string]any{
			"birth":    hex.EncodeToString(birth),
			"count":    count.Load(),
			"checksum": block.checksum(),
			"greeting": os.Getenv("GREETING"),
			"token":    crc32.ChecksumIEEE(token),
		})
	})
	// For those who ask often: without looking at the block.
	http.HandleFunc("/ping", func(response http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(response, `{"birth":"%s","count":%d}`, hex.EncodeToString(birth), count.Load())
	})
	http.HandleFunc("/crash", func(http.ResponseWriter, *http.Request) { os.Exit(3) })
	panic(http.ListenAndServe(fmt.Sprintf(":%d", setting("PORT", 8080)), nil))
}
