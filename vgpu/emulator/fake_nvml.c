/* An emulated libnvidia-ml.so.1: the calls this project makes, answered from the state file that VGPU_FAKE_NVML_STATE
 * names. nvml_state.py owns the layout and writes the file; sizes that differ from its own fail the build.
 * Without the variable or the file the answer is "driver not loaded": the emulation is never implied. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

enum {
    SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7,
    DRIVER_NOT_LOADED = 9, GPU_IS_LOST = 15, LIB_RM_VERSION_MISMATCH = 18, ARGUMENT_VERSION_MISMATCH = 25,
};
enum { VGPU_HOST = 3, GPU_UTILIZATION_SAMPLES = 1, MEMORY_UTILIZATION_SAMPLES = 2, VALUE_IS_UNSIGNED_INT = 1 };
/* The driver answers the size of its buffer, not the live number of processes. */
enum { PROCESS_SIZING_ANSWER = 100 };

typedef int Answer;

typedef struct { uint32_t pid, sm_percent; uint64_t used_bytes, busy_at_us; } Process;
typedef struct { uint64_t at_us, gpu_percent; } Sample;
typedef struct {
    char name[96], uuid[80];
    uint64_t total_bytes, used_bytes, samples_written;
    uint32_t lost, gpu_percent, virtualization_mode, scheduler_policy, slice_ns, process_count;
    Process processes[MAX_PROCESSES];
    Sample samples[MAX_SAMPLES];
} Device;
typedef struct { char function[64]; int32_t device; uint32_t code; uint64_t after; } Fault;
typedef struct {
    char magic[8];
    uint32_t version, size;
    uint64_t sequence, expires_ns;
    char driver_version[80], nvml_version[80];
    uint32_t cuda_version, device_count, fault_count, unused;
    Fault faults[MAX_FAULTS];
    Device devices[MAX_DEVICES];
} State;

_Static_assert(sizeof(Process) == PROCESS_SIZE, "Process differs from nvml_state.ProcessRecord");
_Static_assert(sizeof(Sample) == SAMPLE_SIZE, "Sample differs from nvml_state.SampleRecord");
_Static_assert(sizeof(Device) == DEVICE_SIZE, "Device differs from nvml_state.DeviceRecord");
_Static_assert(sizeof(Fault) == FAULT_SIZE, "Fault differs from nvml_state.FaultRecord");
_Static_assert(sizeof(State) == STATE_SIZE, "State differs from nvml_state.StateRecord");

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const State *state;
static int references;
static uint64_t fault_calls[MAX_FAULTS];

/* Lets a caller tell this library from the driver's. */
EXPORT uint32_t vgpuFakeNvmlLayoutVersion(void) { return LAYOUT_VERSION; }

static Answer map_state(void) {
    const char *path = getenv("VGPU_FAKE_NVML_STATE");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return DRIVER_NOT_LOADED;
    struct stat status;
    void *mapping = MAP_FAILED;
    if (!fstat(file, &status) && status.st_size >= (off_t)sizeof(State))
        mapping = mmap(NULL, sizeof(State), PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (mapping == MAP_FAILED) return DRIVER_NOT_LOADED;
    const State *found = mapping;
    if (memcmp(found->magic, "VGPUNVML", 8) || found->version != LAYOUT_VERSION || found->size != sizeof(State)) {
        munmap(mapping, sizeof(State));
        return LIB_RM_VERSION_MISMATCH;
    }
    memset(fault_calls, 0, sizeof fault_calls);
    state = found;
    return SUCCESS;
}

/* Lets go of the file, so that the next initialisation sees that of a new writer. */
static void unmap_state(void) {
    if (state) munmap((void *)state, sizeof(State));
    state = NULL;
}

/* Copies `size` bytes that lie whole in the file. A writer at work is waited for, 50 us at a time; one that died half
 * way through is given up after COPY_TRIES, and `expires_ns` turns its figures into a lost device. */
static void copy_whole(void *to, const void *from, size_t size) {
    for (int tries = 0; tries < COPY_TRIES; tries++) {
        uint64_t before = __atomic_load_n(&state->sequence, __ATOMIC_ACQUIRE);
        memcpy(to, from, size);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (before % 2 == 0 && before == __atomic_load_n(&state->sequence, __ATOMIC_RELAXED)) return;
        usleep(50);
    }
}

static Answer injected_fault(const char *function, int device) {
    for (uint32_t index = 0; index < state->fault_count && index < MAX_FAULTS; index++) {
        Fault fault;
        copy_whole(&fault, &state->faults[index], sizeof fault);
        if (strcmp(fault.function, function) && strcmp(fault.function, "*")) continue;
        if (fault.device >= 0 && fault.device != device) continue;
        if (__atomic_fetch_add(&fault_calls[index], 1, __ATOMIC_RELAXED) >= fault.after) return (Answer)fault.code;
    }
    return SUCCESS;
}

static int writer_is_gone(void) {
    uint64_t expires_ns = __atomic_load_n(&state->expires_ns, __ATOMIC_RELAXED);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return expires_ns && (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec > expires_ns;
}

/* A handle is a tagged index that nobody can dereference by accident. */
#define HANDLE_TAG 0x5647u
static void *handle_of(uint32_t index) { return (void *)(uintptr_t)(HANDLE_TAG << 16 | (index + 1) << 3); }

static Answer take_device(uint32_t index, const char *function, Device *device) {
    if (index >= state->device_count) return INVALID_ARGUMENT;
    Answer fault = injected_fault(function, (int)index);
    if (fault) return fault;
    copy_whole(device, &state->devices[index], sizeof *device);
    return device->lost || writer_is_gone() ? GPU_IS_LOST : SUCCESS;
}

static Answer take_handle(void *handle, const char *function, Device *device) {
    uintptr_t value = (uintptr_t)handle;
    if (value >> 16 != HANDLE_TAG || value & 7 || !(value & 0xffff)) return INVALID_ARGUMENT;
    return take_device((uint32_t)((value & 0xffff) >> 3) - 1, function, device);
}

#define NEEDS_INIT if (!state) return UNINITIALIZED
#define NEEDS_SYSTEM NEEDS_INIT; \
    Answer refusal = injected_fault(__func__, -1); \
    if (refusal) return refusal
#define NEEDS_DEVICE NEEDS_INIT; \
    Device device; \
    Answer refusal = take_handle(handle, __func__, &device); \
    if (refusal) return refusal

static Answer put_text(char *to, unsigned length, const char *text) {
    if (!to) return INVALID_ARGUMENT;
    if (strlen(text) + 1 > length) return INSUFFICIENT_SIZE;
    strcpy(to, text);
    return SUCCESS;
}

EXPORT Answer nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    pthread_mutex_lock(&lock);
    Answer answer = state ? SUCCESS : map_state();
    if (!answer) answer = injected_fault(__func__, -1);
    if (!answer) references++;
    if (!references) unmap_state();
    pthread_mutex_unlock(&lock);
    return answer;
}
EXPORT Answer nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
EXPORT Answer nvmlInit(void) { return nvmlInitWithFlags(0); }

EXPORT Answer nvmlShutdown(void) {
    pthread_mutex_lock(&lock);
    Answer answer = references ? SUCCESS : UNINITIALIZED;
    if (references && !--references) unmap_state();
    pthread_mutex_unlock(&lock);
    return answer;
}

EXPORT const char *nvmlErrorString(Answer answer) {
    switch (answer) {
        case SUCCESS: return "Success";
        case ARGUMENT_VERSION_MISMATCH: return "Argument version mismatch";
        default: return "Error of the emulated NVML";
    }
}

EXPORT Answer nvmlSystemGetDriverVersion(char *text, unsigned length) {
    NEEDS_SYSTEM;
    return put_text(text, length, state->driver_version);
}
EXPORT Answer nvmlSystemGetNVMLVersion(char *text, unsigned length) {
    NEEDS_SYSTEM;
    return put_text(text, length, state->nvml_version);
}
EXPORT Answer nvmlSystemGetCudaDriverVersion(int *version) {
    NEEDS_SYSTEM;
    *version = (int)state->cuda_version;
    return SUCCESS;
}

EXPORT Answer nvmlDeviceGetCount_v2(unsigned *count) {
    NEEDS_SYSTEM;
    *count = state->device_count;
    return SUCCESS;
}
EXPORT Answer nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    NEEDS_INIT;
    Device device;
    Answer refusal = take_device(index, __func__, &device);
    if (refusal) return refusal;
    *handle = handle_of(index);
    return SUCCESS;
}
EXPORT Answer nvmlDeviceGetHandleByUUID(const char *uuid, void **handle) {
    NEEDS_INIT;
    uint32_t index = 0;
    while (index < state->device_count && strcmp(uuid, state->devices[index].uuid)) index++;
    if (index == state->device_count) return NOT_FOUND;
    Device device;
    Answer refusal = take_device(index, __func__, &device);
    if (refusal) return refusal;
    *handle = handle_of(index);
    return SUCCESS;
}

EXPORT Answer nvmlDeviceGetName(void *handle, char *text, unsigned length) {
    NEEDS_DEVICE;
    return put_text(text, length, device.name);
}
EXPORT Answer nvmlDeviceGetUUID(void *handle, char *text, unsigned length) {
    NEEDS_DEVICE;
    return put_text(text, length, device.uuid);
}
EXPORT Answer nvmlDeviceGetVirtualizationMode(void *handle, unsigned *mode) {
    NEEDS_DEVICE;
    *mode = device.virtualization_mode;
    return SUCCESS;
}
EXPORT Answer nvmlDeviceGetMigMode(void *handle, unsigned *current, unsigned *pending) {
    (void)current, (void)pending;
    NEEDS_DEVICE;
    return NOT_SUPPORTED;
}

typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } MemoryV2;

EXPORT Answer nvmlDeviceGetMemoryInfo(void *handle, Memory *memory) {
    NEEDS_DEVICE;
    *memory = (Memory){device.total_bytes, device.total_bytes - device.used_bytes, device.used_bytes};
    return SUCCESS;
}
EXPORT Answer nvmlDeviceGetMemoryInfo_v2(void *handle, MemoryV2 *memory) {
    NEEDS_DEVICE;
    if (memory->version != (sizeof(MemoryV2) | 2u << 24)) return ARGUMENT_VERSION_MISMATCH;
    memory->total = device.total_bytes;
    memory->reserved = 0;
    memory->free = device.total_bytes - device.used_bytes;
    memory->used = device.used_bytes;
    return SUCCESS;
}

typedef struct { unsigned gpu, memory; } Utilization;

EXPORT Answer nvmlDeviceGetUtilizationRates(void *handle, Utilization *utilization) {
    NEEDS_DEVICE;
    *utilization = (Utilization){device.gpu_percent, 0};
    return SUCCESS;
}

typedef struct { unsigned long long at_us; union { unsigned percent; unsigned long long wide; } value; } SampleValue;

EXPORT Answer nvmlDeviceGetSamples(
    void *handle, unsigned kind, unsigned long long since_us, unsigned *value_kind, unsigned *count, SampleValue *samples
) {
    NEEDS_DEVICE;
    if (kind != GPU_UTILIZATION_SAMPLES) return kind == MEMORY_UTILIZATION_SAMPLES ? NOT_SUPPORTED : INVALID_ARGUMENT;
    *value_kind = VALUE_IS_UNSIGNED_INT;
    if (!samples) {
        *count = MAX_SAMPLES;
        return SUCCESS;
    }
    uint64_t written = device.samples_written, first = written > MAX_SAMPLES ? written - MAX_SAMPLES : 0;
    unsigned taken = 0;
    for (uint64_t number = first; number < written && taken < *count; number++) {
        Sample sample = device.samples[number % MAX_SAMPLES];
        if (sample.at_us <= since_us) continue;
        samples[taken].at_us = sample.at_us;
        samples[taken].value.wide = 0;
        samples[taken++].value.percent = (unsigned)sample.gpu_percent;
    }
    *count = taken;
    return taken ? SUCCESS : NOT_FOUND;
}

typedef struct { unsigned pid; unsigned long long at_us; unsigned sm, memory, encoder, decoder; } ProcessUtilization;

EXPORT Answer nvmlDeviceGetProcessUtilization(
    void *handle, ProcessUtilization *utilization, unsigned *count, unsigned long long since_us
) {
    NEEDS_DEVICE;
    if (!utilization) {
        *count = PROCESS_SIZING_ANSWER;
        return INSUFFICIENT_SIZE;
    }
    unsigned taken = 0;
    for (uint32_t index = 0; index < device.process_count; index++) {
        Process process = device.processes[index];
        if (!process.sm_percent || process.busy_at_us <= since_us) continue;
        if (taken == *count) return INSUFFICIENT_SIZE;
        utilization[taken++] = (ProcessUtilization){process.pid, process.busy_at_us, process.sm_percent, 0, 0, 0};
    }
    *count = taken;
    return taken ? SUCCESS : NOT_FOUND;
}

typedef struct { unsigned pid; unsigned long long used_bytes; unsigned gpu_instance, compute_instance; } RunningProcess;

EXPORT Answer nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *count, RunningProcess *processes) {
    NEEDS_DEVICE;
    unsigned room = *count;
    *count = device.process_count;
    if (!device.process_count) return SUCCESS;
    if (!processes || room < device.process_count) return INSUFFICIENT_SIZE;
    for (uint32_t index = 0; index < device.process_count; index++)
        processes[index] = (RunningProcess){device.processes[index].pid, device.processes[index].used_bytes, ~0u, ~0u};
    return SUCCESS;
}

typedef struct { unsigned engine, policy, averaging_factor, slice_ns; } SchedulerState;

EXPORT Answer nvmlDeviceGetVgpuSchedulerState_v2(void *handle, SchedulerState *scheduler) {
    NEEDS_DEVICE;
    if (device.virtualization_mode != VGPU_HOST) return NOT_SUPPORTED;
    scheduler->policy = device.scheduler_policy;
    scheduler->averaging_factor = 0;
    scheduler->slice_ns = device.slice_ns;
    return SUCCESS;
}
