// Print the value of a connection or a variable that the agent of this machine answers with.
//
//	go run . variable region
//	go run . connection orders_db
//
// Needs nothing but the standard library. Ends with 3 where there is none.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

var errAbsent = errors.New("there is none")

type ref struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	Team string `json:"team,omitempty"`
}

type result struct {
	Outcome string `json:"outcome"`
	Value   string `json:"value"`
	Error   *struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

// newClient speaks HTTP on the agent's socket; keep one for the life of the program.
func newClient(socket string) *http.Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	// No proxy: a Transport of one's own has none. The agent refuses what went through another program.
	return &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{DialContext: dial}}
}

func read(client *http.Client, kind, name string) (string, error) {
	question, err := json.Marshal(map[string][]ref{"refs": {{Kind: kind, Name: name}}})
	if err != nil {
		return "", err
	}
	answer, err := client.Post("http://localhost/v1/read", "application/json", bytes.NewReader(question))
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the agent answers %s", answer.Status)
	}
	var found struct {
		Results []result `json:"results"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&found); err != nil {
		return "", err
	}
	switch one := found.Results[0]; {
	case one.Outcome == "found":
		return one.Value, nil
	case one.Outcome == "absent":
		return "", errAbsent
	default:
		return "", fmt.Errorf("%s: %s", one.Error.Code, one.Error.Message)
	}
}

func main() {
	agent := os.Getenv("STRONGROOM_SOCKET")
	if agent == "" {
		agent = "/run/strongroom/agent.sock"
	}
	client := newClient(filepath.Join(filepath.Dir(agent), "http.sock"))
	value, err := read(client, os.Args[1], os.Args[2])
	if errors.Is(err, errAbsent) {
		os.Exit(3)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Print(value)
}
