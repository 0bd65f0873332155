{
  "targets": [
    {
      "target_name": "sluice",
      "sources": [
        "src/addon/addon.cc",
        "src/addon/aes_gcm.cc",
        "src/addon/blocking.cc",
        "src/addon/byte_channel.cc",
        "src/addon/datagram_channel.cc",
        "src/addon/descriptors.cc",
        "src/addon/environment.cc",
        "src/addon/handle.cc",
        "src/addon/loop_object.cc",
        "src/addon/poller.cc",
        "src/addon/posix_queue.cc",
        "src/addon/process_watch.cc",
        "src/addon/ring_channel.cc",
        "src/addon/ring_waiter.cc",
        "src/addon/segment.cc",
        "src/addon/socket_connector.cc",
        "src/addon/socket_listener.cc",
        "src/addon/sysv_queue.cc",
        "src/addon/values.cc"
      ],
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": ["NAPI_VERSION=8", "NODE_ADDON_API_CPP_EXCEPTIONS", "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS", "_GNU_SOURCE"],
      "cflags": ["-Wall", "-Wextra", "-fvisibility=hidden"],
      "cflags_cc": ["-std=c++20"],
      "cflags_cc!": ["-fno-exceptions", "-fno-rtti"],
      "ldflags": ["-Wl,-z,now", "-Wl,-z,nodelete"]
    }
  ]
}
