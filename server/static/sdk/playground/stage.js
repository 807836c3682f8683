/** What is seen and heard: the picture, the list of takes, and playback. */
import { SAMPLE_RATE } from "../events.js";
import { element } from "./elements.js";
import { Picture } from "./picture/picture.js";
import { Playback } from "./sound/playback.js";
import { MOST_KEPT_SECONDS } from "./takes/take.js";
import { TakeList } from "./takes/take_list.js";
import { Takes } from "./takes/takes.js";
import { viewOf } from "./view.js";
export class Stage {
    state;
    page;
    picture = new Picture(element("picture"));
    playback = new Playback();
    takes = new Takes();
    list;
    constructor(state, page, onAct) {
        this.state = state;
        this.page = page;
        this.list = new TakeList(onAct);
        this.picture.head = () => this.position;
        this.playback.onReport = (report) => this.showPlayback(report);
        this.playback.onEnd = () => this.heardToTheEnd();
        this.playback.onHeldBack = (held) => this.showHeldBack(held);
    }
    /** The sample of what is shown that is heard, or would be. */
    get position() {
        return this.playback.placeIn(this.state.track);
    }
    /** Whether what is shown is heard. */
    get shownSounds() {
        return this.playback.sounds(this.state.track);
    }
    /** Show a take, or the prompt. */
    show(take) {
        this.state.shown = take;
        this.refresh();
        this.showTime();
    }
    /** Play a track from a sample on, instead of what was heard. */
    sound(track, from) {
        this.playback.play(track, from);
        this.refresh();
        if (this.playback.heldBack)
            this.showHeldBack(true);
    }
    /** Play what is shown from where it was left, or pause it. */
    async play() {
        const { track } = this.state;
        if (this.shownSounds && !this.playback.heldBack)
            return this.pause();
        await this.playback.open();
        if (!track || track !== this.state.track)
            return;
        const place = this.position;
        this.sound(track, place < track.samples ? place : 0);
        const { shown } = this.state;
        if (!this.playback.heldBack)
            this.page.say(shown ? `Playing ${shown.parent ? "fork" : "take"} ${shown.name}.${noteOnLength(shown)}` : "The prompt.");
    }
    pause() {
        this.silence();
        this.page.say("Paused.");
    }
    silence() {
        this.playback.stop();
        this.state.fresh = null;
        this.refresh();
    }
    /** Go to a second of what is shown.
     * @param done false while a finger still moves */
    seek(second, done) {
        const { track } = this.state;
        if (!track)
            return;
        const sample = Math.round(Math.min(second, track.seconds) * SAMPLE_RATE);
        if (!this.shownSounds)
            this.playback.place(track, sample);
        else if (done)
            this.sound(track, sample);
        this.showTime();
        this.refresh();
    }
    /** Bring the page up to date with the state. */
    refresh() {
        const { playback, takes } = this;
        const { phase, shown, recorded, prompt, track } = this.state;
        this.picture.show(viewOf(shown, recorded, prompt));
        const sounding = takes.all.find((take) => playback.sounds(take.track)) ?? null;
        this.list.update(takes.all, shown, sounding);
        const promptShown = !shown && prompt?.track ? prompt : null;
        this.page.showCut(promptShown?.cut ?? null, promptShown?.track?.seconds ?? 0);
        const heard = prompt?.kind === "bundled" && playback.sounds(prompt.track) && !playback.heldBack;
        this.page.showHeard(heard ? prompt.name : null);
        this.page.enter({
            phase,
            sounding: playback.playing,
            shownSounds: this.shownSounds && !playback.heldBack,
            prompt: prompt !== null,
            audible: (track?.samples ?? 0) > 0,
            forkable: (shown?.seconds ?? 0) > 0,
        });
    }
    showTime() {
        this.page.showTime(this.position / SAMPLE_RATE, this.state.track?.seconds ?? 0);
    }
    showPlayback({ underruns }) {
        const { playback } = this;
        const { fresh, making } = this.state;
        if (fresh && playback.track === fresh.track) {
            this.page.show("buffer", `${Math.round((1000 * (fresh.track.samples - playback.position)) / SAMPLE_RATE)} ms`);
            this.page.show("underruns", String(underruns));
        }
        if (making?.take.track === playback.track)
            making?.report(playback.position, underruns);
        this.showTime();
    }
    /** Say that all was heard; an error stays said. */
    heardToTheEnd() {
        const { fresh } = this.state;
        const isFresh = fresh?.track === this.playback.track;
        if (isFresh)
            this.page.show("buffer", "0 ms");
        if (!this.page.saysError)
            this.page.say(isFresh ? `Done: ${fresh.seconds.toFixed(2)} s.` : "Heard to the end.");
        this.state.fresh = null;
        this.refresh();
        this.showTime();
    }
    showHeldBack(held) {
        if (held)
            this.page.say("The browser holds the sound back. Press Play to hear it from here.", "error");
        else
            this.page.say("Playing.");
        this.refresh();
    }
}
/** A sentence on a take that is longer than what is kept of it; else nothing. */
export function noteOnLength(take) {
    return take.seconds > MOST_KEPT_SECONDS ? ` The first ${MOST_KEPT_SECONDS / 60} minutes are kept.` : "";
}
