/**
 * Sluice clients whose calls are rxjs Observables. Handlers need nothing from here: they may return an Observable
 * wherever they may return an AsyncIterable.
 */
export { rxClient, type RxCallOptions, type RxClient, type RxMethod } from "./client.js";
