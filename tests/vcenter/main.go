// A vCenter to test against: govmomi's simulator over TLS, with a graphics card in each host of the clusters.
//
// A machine's annotation says, as JSON, how it misbehaves: {"of": "suspend", "fault": "NoPermission"} lets the task
// fail, "at_once" the call itself, "delay_ms" keeps the task queued so long, and "deaf" ignores a guest shutdown.
// Prints its address and serves until its standard input ends.
package main

import (
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net/url"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

type behaviour struct {
	Of      string `json:"of"`
	Fault   string `json:"fault"`
	AtOnce  bool   `json:"at_once"`
	DelayMs int    `json:"delay_ms"`
	Deaf    bool   `json:"deaf"`
}

type machine struct{ simulator.VirtualMachine }

func (m *machine) behaviour(of string) behaviour {
	var found behaviour
	_ = json.Unmarshal([]byte(m.Config.Annotation), &found)
	if found.Of != of {
		return behaviour{}
	}
	return found
}

// fault makes one of this name, with the parts that a client cannot read it without.
func (m *machine) fault(name string) types.BaseMethodFault {
	if name == "" {
		return nil
	}
	kind, known := types.TypeFunc()(name)
	if !known {
		log.Fatalf("no fault %q", name)
	}
	made := reflect.New(kind).Interface().(types.BaseMethodFault)
	switch of := made.(type) {
	case *types.NoPermission:
		of.Object, of.PrivilegeId = m.Self, "VirtualMachine.Interact.Suspend"
	case *types.InvalidPowerState:
		of.RequestedState, of.ExistingState = m.Runtime.PowerState, m.Runtime.PowerState
	case *types.TaskInProgress:
		of.Task = types.ManagedObjectReference{Type: "Task", Value: "task-of-somebody"}
	}
	return made
}

// ask runs `real`, whose answer holds a finished task, as the machine's behaviour says.
func (m *machine) ask(of string, real func() types.ManagedObjectReference) (*types.ManagedObjectReference, *soap.Fault) {
	will := m.behaviour(of)
	if will.AtOnce {
		return nil, simulator.Fault("", m.fault(will.Fault))
	}
	task := simulator.CreateTask(m.Self, of, func(*simulator.Task) (types.AnyType, types.BaseMethodFault) {
		if failed := m.fault(will.Fault); failed != nil {
			return nil, failed
		}
		done := simulator.Map.Get(real()).(*simulator.Task)
		if done.Info.Error != nil {
			return nil, done.Info.Error.Fault
		}
		return done.Info.Result, nil
	})
	m.RecentTask = append(m.RecentTask, task.Self)
	if will.DelayMs == 0 {
		task.Run()
	} else {
		time.AfterFunc(time.Duration(will.DelayMs)*time.Millisecond, func() {
			simulator.Map.WithLock(m, func() { task.Run() })
		})
	}
	return &task.Self, nil
}

func (m *machine) PowerOnVMTask(ctx *simulator.Context, r *types.PowerOnVM_Task) soap.HasFault {
	task, failed := m.ask("powerOn", func() types.ManagedObjectReference {
		return m.VirtualMachine.PowerOnVMTask(ctx, r).(*methods.PowerOnVM_TaskBody).Res.Returnval
	})
	if failed != nil {
		return &methods.PowerOnVM_TaskBody{Fault_: failed}
	}
	return &methods.PowerOnVM_TaskBody{Res: &types.PowerOnVM_TaskResponse{Returnval: *task}}
}

func (m *machine) PowerOffVMTask(ctx *simulator.Context, r *types.PowerOffVM_Task) soap.HasFault {
	task, failed := m.ask("powerOff", func() types.ManagedObjectReference {
		return m.VirtualMachine.PowerOffVMTask(ctx, r).(*methods.PowerOffVM_TaskBody).Res.Returnval
	})
	if failed != nil {
		return &methods.PowerOffVM_TaskBody{Fault_: failed}
	}
	return &methods.PowerOffVM_TaskBody{Res: &types.PowerOffVM_TaskResponse{Returnval: *task}}
}

func (m *machine) SuspendVMTask(ctx *simulator.Context, r *types.SuspendVM_Task) soap.HasFault {
	task, failed := m.ask("suspend", func() types.ManagedObjectReference {
		return m.VirtualMachine.SuspendVMTask(ctx, r).(*methods.SuspendVM_TaskBody).Res.Returnval
	})
	if failed != nil {
		return &methods.SuspendVM_TaskBody{Fault_: failed}
	}
	return &methods.SuspendVM_TaskBody{Res: &types.SuspendVM_TaskResponse{Returnval: *task}}
}

func (m *machine) ShutdownGuest(ctx *simulator.Context, r *types.ShutdownGuest) soap.HasFault {
	will := m.behaviour("shutdownGuest")
	if will.AtOnce {
		return &methods.ShutdownGuestBody{Fault_: simulator.Fault("", m.fault(will.Fault))}
	}
	if will.Deaf {
		return &methods.ShutdownGuestBody{Res: &types.ShutdownGuestResponse{}}
	}
	return m.VirtualMachine.ShutdownGuest(ctx, r)
}

// CreateSnapshotTask of the simulator takes its machine from the registry and knows only its own kind.
func (m *machine) CreateSnapshotTask(r *types.CreateSnapshot_Task) soap.HasFault {
	task, failed := m.ask("createSnapshot", func() types.ManagedObjectReference {
		simulator.Map.Put(&m.VirtualMachine)
		defer simulator.Map.Put(m)
		return m.VirtualMachine.CreateSnapshotTask(r).(*methods.CreateSnapshot_TaskBody).Res.Returnval
	})
	if failed != nil {
		return &methods.CreateSnapshot_TaskBody{Fault_: failed}
	}
	return &methods.CreateSnapshot_TaskBody{Res: &types.CreateSnapshot_TaskResponse{Returnval: *task}}
}

// A user whose name ends in -reader may do nothing.
type authorization struct {
	simulator.AuthorizationManager
	reader bool
}

func (a *authorization) HasPrivilegeOnEntities(r *types.HasPrivilegeOnEntities) soap.HasFault {
	answer := a.AuthorizationManager.HasPrivilegeOnEntities(r)
	if body, ok := answer.(*methods.HasPrivilegeOnEntitiesBody); ok && a.reader && body.Res != nil {
		for _, entity := range body.Res.Returnval {
			for at := range entity.PrivAvailability {
				entity.PrivAvailability[at].IsGranted = false
			}
		}
	}
	return answer
}

func graphics(host *simulator.HostSystem) {
	host.Capability = &types.HostCapability{VmotionSupported: true}
	names := []string{"grid_v100-4q", "grid_v100-8q", "grid_v100-16q", "grid_a100-1-5cme"}
	host.Config.SharedPassthruGpuTypes = names
	for at, name := range names {
		host.Config.SharedGpuCapabilities = append(host.Config.SharedGpuCapabilities, types.HostSharedGpuCapabilities{
			Vgpu: name, SuspendSupported: at != 1, MigrateSupported: at == 0, MemorySnapshotSupported: at == 0,
			DiskSnapshotSupported: true,
		})
	}
}

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address to serve on")
	certificate := flag.String("certificate", "", "PEM file")
	key := flag.String("key", "", "PEM file")
	user := flag.String("user", "user", "who may log in")
	password := flag.String("password", "pass", "with what")
	flag.Parse()

	model := simulator.VPX()
	model.ServiceContent.About.ApiVersion = "7.0.0.0"
	model.Datacenter, model.ClusterHost, model.Machine = 2, 2, 3
	if err := model.Create(); err != nil {
		log.Fatal(err)
	}
	defer model.Remove()
	for _, entity := range simulator.Map.All("HostSystem") {
		if host := entity.(*simulator.HostSystem); strings.Contains(host.Name, "_C0_") {
			graphics(host)
		}
	}
	for _, entity := range simulator.Map.All("VirtualMachine") {
		vm := entity.(*simulator.VirtualMachine)
		if strings.Contains(vm.Name, "_C0_") {
			vm.Capability.SnapshotOperationsSupported, vm.Capability.MemorySnapshotsSupported = true, true
			vm.Guest.ToolsRunningStatus = string(types.VirtualMachineToolsRunningStatusGuestToolsRunning)
		}
		if strings.HasSuffix(vm.Name, "_C0_RP0_VM2") {
			vm.Name = "twin"
		}
		simulator.Map.Put(&machine{*vm})
	}
	rights := simulator.Map.Get(*model.ServiceContent.AuthorizationManager).(*simulator.AuthorizationManager)
	simulator.Map.Put(&authorization{*rights, strings.HasSuffix(*user, "-reader")})
	pair, err := tls.LoadX509KeyPair(*certificate, *key)
	if err != nil {
		log.Fatal(err)
	}
	model.Service.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	model.Service.Listen = &url.URL{Host: *listen, User: url.UserPassword(*user, *password)}
	server := model.Service.NewServer()
	defer server.Close()
	fmt.Println(server.URL.Host)
	_, _ = io.Copy(io.Discard, os.Stdin)
}
