/** Ends by itself once connected, though a listener that is not referenced is open. */
import { native } from "../support.js";

const path = process.argv[2];
const listener = new native.SocketListener(
  { path },
  {
    onConnection(fd) {
      console.log("accepted");
      native.closeFd(fd);
      listener.unref();
    },
    onError() {},
  },
);
new native.SocketConnector(
  { path },
  {
    onConnect(fd) {
      console.log("connected");
      native.closeFd(fd);
    },
    onError() {},
  },
);
