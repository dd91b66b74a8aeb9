/* Loaded into a process before the C library, this adds to its wall clock as many seconds as a file says: one that
   CLOCK_SHIFT names. All other clocks are left alone, and so is the machine's. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = (int)syscall(SYS_clock_gettime, clock, now);
    const char *path = getenv("CLOCK_SHIFT");
    if (failed || clock != CLOCK_REALTIME || path == NULL) {
        return failed;
    }
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        char text[32] = {0};
        if (read(file, text, sizeof text - 1) > 0) {
            now->tv_sec += atoll(text);
        }
        close(file);
    }
    return 0;
}
